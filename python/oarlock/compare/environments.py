"""Virtual environments for both interpreters from one requirements file, at identical versions, in the cache."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from oarlock.compare.interpreters import CompareError, Interpreter


def cache() -> Path:
    base = os.environ.get("OARLOCK_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "oarlock")
    return Path(base, "compare")


def _pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)


def _without_wheel(python: Path, frozen: str) -> list[str]:
    """Which of the pinned packages have no wheel for this interpreter."""
    with tempfile.TemporaryDirectory(prefix="oarlock-wheels-") as folder:
        download = ("download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder)
        return [line for line in frozen.splitlines() if _pip(python, *download, line).returncode]


def make(base: Interpreter, requirements: Path, say: Any) -> Path:
    """The environment's folder. The versions are those that the first one made chose; the other gets the same.

    Raises:
        CompareError: the file is not there, or pip could not install; packages without a wheel are named.
    """
    if not requirements.exists():
        raise CompareError(f"--requirements {requirements}: there is no such file")
    text = requirements.read_bytes()
    # both kinds must meet the same versions, so the pins of the first are kept under the file's own checksum
    name = hashlib.sha256(text).hexdigest()[:10]
    folder = (
        cache() / f"{requirements.stem}-{name}-{base.kind}-{hashlib.sha256(base.executable.encode()).hexdigest()[:6]}"
    )
    pins = cache() / f"{requirements.stem}-{name}.txt"
    if (folder / ".complete").exists():
        return folder
    say(f"making the environment of {requirements} for {base.words().partition(',')[0]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = subprocess.run([base.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True)
    if made.returncode:
        raise CompareError(f"{base.executable} -m venv failed: {made.stderr.strip()}")
    python = folder / "bin" / "python"
    source = pins if pins.exists() else requirements
    done = _pip(python, "install", "-q", "--prefer-binary", "-r", str(source))
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-6:]
        raise CompareError(
            f"{source} could not be installed for {base.words().partition(',')[0]}:\n  " + "\n  ".join(lines)
            + "\n  (choose versions that both interpreters have wheels for)"
        )  # fmt: skip
    if not pins.exists():
        pins.write_text(_pip(python, "freeze").stdout)
    elif base.free_threaded:
        built = _without_wheel(python, pins.read_text())
        if built:
            print(f"no wheel for the free-threaded interpreter, built from source: {', '.join(built)}", file=sys.stderr)
    (folder / ".complete").touch()
    return folder
