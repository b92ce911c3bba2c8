"""The interpreters that are compared: where they are, what they are, and whether they are alike."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2]  # the folder that holds oarlock/

_QUESTION = """
import importlib.util, json, os, platform, sys, sysconfig
v = sysconfig.get_config_var
args = v("CONFIG_ARGS") or ""
ft = bool(v("Py_GIL_DISABLED"))
flags = " ".join(filter(None, (v("CFLAGS"), v("CFLAGS_NODIST"), v("PY_CFLAGS"))))
malloc = os.environ.get("PYTHONMALLOC") or ("mimalloc" if ft else "pymalloc" if v("WITH_PYMALLOC") else "malloc")
spec = importlib.util.find_spec("oarlock")
server = os.path.join(os.path.dirname(spec.origin), "_bin", "oarlock") if spec and spec.origin else ""
print(json.dumps({
    "executable": sys.executable,
    "version": platform.python_version(),
    "free_threaded": ft,
    "pgo": "--enable-optimizations" in args or "-fprofile-use" in flags,
    "lto": "--with-lto" in args or "-flto" in flags,
    "debug": bool(v("Py_DEBUG")),
    # PEP 659's specialising interpreter is off in the free-threaded 3.13 and came back with 3.14
    "specialising": not ft or sys.version_info >= (3, 14),
    "optimisation": next((f for f in reversed(flags.split()) if f.startswith("-O")), "?"),
    "compiler": platform.python_compiler(),
    "allocator": malloc,
    "server": server if os.path.exists(server) else "",
}))
"""


class CompareError(Exception):
    """What the user did can't be done; the message says why and what to do instead."""


@dataclass(frozen=True)
class Interpreter:
    """One interpreter, as it describes itself."""

    executable: str
    version: str
    free_threaded: bool
    pgo: bool
    lto: bool
    debug: bool
    specialising: bool
    optimisation: str
    compiler: str
    allocator: str
    server: str  # that pip installed for it, with its bridge; "": none

    @property
    def kind(self) -> str:
        return "ft" if self.free_threaded else "gil"

    def words(self) -> str:
        """Like "CPython 3.13.5 free-threaded, -O3, no PGO, no LTO, not specialising, mimalloc, GCC 12.2.0"."""
        parts = [
            f"CPython {self.version} {'free-threaded' if self.free_threaded else 'with the GIL'}",
            self.optimisation,
            "PGO" if self.pgo else "no PGO",
            "LTO" if self.lto else "no LTO",
            "specialising" if self.specialising else "not specialising",
            self.allocator,
            self.compiler,
        ]
        return ", ".join(parts + (["DEBUG BUILD"] if self.debug else []))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def describe(python: str) -> Interpreter:
    """Asks an executable what it is.

    Raises:
        CompareError: it does not run, or it is older than 3.13.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run([python, "-c", _QUESTION], capture_output=True, text=True, timeout=60, env=environment)
    except OSError as exc:
        raise CompareError(f"the interpreter {python} can't be run: {exc.strerror}") from None
    if done.returncode != 0:
        raise CompareError(f"the interpreter {python} fails: {done.stderr.strip().splitlines()[-1:]}")
    found = Interpreter(**json.loads(done.stdout))
    if tuple(int(x) for x in found.version.split(".")[:2]) < (3, 13):
        raise CompareError(f"{python} is CPython {found.version}; 3.13 or later is needed")
    return found


def find(kind: str, given: str | None, venv: str | None) -> Interpreter:
    """The interpreter of a kind: the one given, that of a virtual environment, the one the build chose, or this one."""
    option = f"--{kind}-python"
    built = PACKAGE.parent / "build" / f"python-{kind}"
    if venv:
        candidate = str(Path(venv, "bin", "python"))
    elif given:
        candidate = given
    elif built.exists():
        candidate = built.read_text().strip()
    else:
        candidate = sys.executable
    found = describe(candidate)
    if found.kind != kind:
        what = "free-threaded" if found.free_threaded else "built with the GIL"
        name = "free-threaded (python3.13t)" if kind == "ft" else "with the GIL"
        raise CompareError(f"{candidate} is {what}; name an interpreter {name} with {option} PATH")
    return found


def differences(a: Interpreter, b: Interpreter) -> list[str]:
    """In what two builds are unlike besides the GIL: with any of these, the comparison is not only of the GIL."""
    found = []
    for field in ("version", "pgo", "lto", "debug", "optimisation", "compiler"):
        x, y = getattr(a, field), getattr(b, field)
        if x != y:
            found.append(f"{field} {x} against {y}")
    return found
