"""pip's way in: builds the server and the bridge for the interpreter that installs, with the Makefile's rules.

Everything else about the package is in pyproject.toml.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
HEADERS = {"ev.h": "libev-dev", "cjson/cJSON.h": "libcjson-dev", "http_parser.h": "libhttp-parser-dev"}


def _need(what: str, package: str) -> None:
    sys.exit(f"oarlock: {what} is missing; install it first, on Debian: apt-get install {package}")


def check_tools() -> None:
    """Names what is missing and the package that has it, before a compiler says it in its own way."""
    for tool in ("make", os.environ.get("CC", "gcc")):
        if not shutil.which(tool):
            _need(tool, tool)
    for header, package in HEADERS.items():
        test = [os.environ.get("CC", "gcc"), "-E", "-include", header, "-x", "c", os.devnull]
        if subprocess.run(test, capture_output=True).returncode != 0:
            _need(f"the header {header}", package)
    include = Path(sysconfig.get_path("include"), "Python.h")
    if not include.exists():
        _need(f"{include} (the interpreter's headers)", "python3-dev")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        sys.exit(
            f"oarlock: {sys.executable} was built without --enable-shared, so no server can embed it; use an "
            "interpreter with a shared libpython (Debian's python3-dev, or ./configure --enable-shared)"
        )


class BuildWithServer(build_py):
    """Adds ``oarlock/_bin``: the server, and the bridge for this interpreter."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # an editable install runs from build/, as the source tree does
            return
        check_tools()
        kind = "ft" if sysconfig.get_config_var("Py_GIL_DISABLED") else "gil"
        package = Path(self.build_lib, "oarlock", "_bin")
        with tempfile.TemporaryDirectory(prefix="oarlock-") as folder:
            jobs = f"-j{os.cpu_count() or 1}"
            build = ["make", "-C", str(ROOT), jobs, f"BUILD={folder}"]
            subprocess.run([*build, f"{folder}/oarlock"], check=True)
            subprocess.run([*build, f"{folder}/load"], check=True)
            subprocess.run([*build, "bridge", f"BRIDGE={kind}", f"BRIDGE_PYTHON={sys.executable}"], check=True)
            (package / "bridge").mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder, "oarlock"), package / "oarlock")
            shutil.copy(Path(folder, "load"), package / "oarlock-load")
            shutil.copy(Path(folder, "bridge", f"{kind}.so"), package / "bridge")
        shutil.copy(ROOT / "python" / "_oarlock.pyi", self.build_lib)


class PlatformDistribution(Distribution):
    """A wheel for one interpreter and one platform, though no setuptools extension is in it."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": BuildWithServer}, distclass=PlatformDistribution)
