"""Finds the native module ``_oarlock``: built into a server, an extension in an ordinary interpreter.

Import it from here, never directly. In a server it is already there; elsewhere it is loaded from the bridge
that was built for this interpreter, so that there is one binary for both and never two in one process.
"""

import importlib.machinery
import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType


def _bridge() -> Path:
    kind = "ft" if sysconfig.get_config_var("Py_GIL_DISABLED") else "gil"
    here = Path(__file__).resolve().parent
    places = [
        here / "_bin" / "bridge",  # installed by pip
        here.parents[1] / "build" / "bridge",  # in the source tree
        here.parents[1] / "bridge",  # installed by make
    ]
    for place in places:
        if (place / f"{kind}.so").exists():
            return place / f"{kind}.so"
    raise ImportError(
        f"oarlock's bridge {kind}.so was not found in {', '.join(map(str, places))}; "
        "build it with `make build`, or install oarlock into this interpreter with pip"
    )


def _load() -> ModuleType:
    if "_oarlock" in sys.builtin_module_names or "_oarlock" in sys.modules:
        return importlib.import_module("_oarlock")
    path = str(_bridge())
    loader = importlib.machinery.ExtensionFileLoader("_oarlock", path)
    spec = importlib.util.spec_from_file_location("_oarlock", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_oarlock"] = module
    loader.exec_module(module)
    return module


native = _load()
