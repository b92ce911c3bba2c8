"""The GIL watch: says which extension module turned the GIL on in the free-threaded interpreter, and who imported it.

CPython turns it on for good when a module is loaded that does not declare ``Py_mod_gil`` (PEP 703). That may be at
start or, much later, in a handler.
"""

import sys
import sysconfig
import traceback
from importlib.machinery import ExtensionFileLoader
from types import ModuleType
from typing import Any

from oarlock._native import native
from oarlock.exceptions import LoadError

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
_mode = "allow"
_watching = False
culprit: str | None = None  # what turned it on, in words


def enabled() -> bool:
    """Is the GIL on?"""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _chain() -> str:
    """Who imported it: the lines of the modules, and of functions, whose code is running; the innermost first."""
    found = []
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith("<frozen importlib") or frame.filename == __file__:
            continue
        if "/importlib/" in frame.filename or "/oarlock/_" in frame.filename:
            continue
        where = "" if frame.name == "<module>" else f" in {frame.name}()"
        found.append(f"{frame.filename}:{frame.lineno}{where}")
    return " <- ".join(found) or "the interpreter's start"


def _turned_on(name: str, origin: str | None) -> None:
    global culprit
    culprit = (
        f"the extension module {name} ({origin or 'built in'}) turned the GIL on: it does not declare that it works "
        f"without (Py_mod_gil); imported by {_chain()}"
    )
    native.gil_is_on()
    if _mode != "allow":
        late = "" if not native.is_serving() else "; all threads of this worker share one GIL from now on"
        native.log("error" if _mode == "require-off" else "warning", culprit + late)


def watch(mode: str) -> None:
    """Begins to look at each extension module that is loaded. ``mode``: --gil."""
    global _mode, _watching
    _mode = mode
    if not FREE_THREADED or enabled() or _watching:
        return
    _watching = True

    def looking(method: Any) -> Any:
        def load(loader: ExtensionFileLoader, what: Any) -> Any:
            before = enabled()
            result = method(loader, what)
            if enabled() and not before:
                name = what.__name__ if isinstance(what, ModuleType) else what.name
                _turned_on(name, getattr(loader, "path", None))
            return result

        return load

    ExtensionFileLoader.create_module = looking(ExtensionFileLoader.create_module)  # type: ignore[method-assign]
    ExtensionFileLoader.exec_module = looking(ExtensionFileLoader.exec_module)  # type: ignore[method-assign]


def check() -> None:
    """After the application's import.

    Raises:
        LoadError: the GIL is on, and --gil require-off forbids it.
    """
    if _mode != "require-off":
        return
    if not FREE_THREADED:
        raise LoadError("--gil require-off: this interpreter is built with the GIL; give --python ft")
    if enabled():
        raise LoadError(f"--gil require-off: {culprit or 'the GIL was on from the start (PYTHON_GIL=1 or -X gil=1)'}")
