"""What an interpreter finds when it imports an application: run by ``oarlock doctor`` in a process of its own.

usage: python probe.py module:attribute APP_DIR PACKAGE_DIR FACTORY; writes one line of JSON to descriptor 3.
Uses nothing but the standard library and oarlock, since it runs in the application's environment.
"""

import importlib.util
import json
import os
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

STDLIB = os.path.dirname(os.__file__)


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in os.scandir("/proc/self/fd"):
        try:
            found[int(entry.name)] = os.readlink(entry.path)
        except OSError:
            continue  # the descriptor of this listing
    return found


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _below(folder: Path) -> list[tuple[str, Path]]:
    """Extension modules in a package's folder that this interpreter could load, with their names."""
    found = []
    for path in sorted(folder.rglob("*.so")):
        suffix = next((s for s in EXTENSION_SUFFIXES if path.name.endswith(s)), None)
        if suffix:
            parts = path.relative_to(folder.parent).parts
            found.append((".".join((*parts[:-1], path.name.removesuffix(suffix))), path))
    return found


def _foreign(folder: Path) -> list[str]:
    """Extension modules that were built for another interpreter."""
    own = tuple(EXTENSION_SUFFIXES)
    return [str(p) for p in folder.rglob("*.cpython-*.so") if not p.name.endswith(own)]


def _own(module: Any, app_dir: str) -> bool:
    file = getattr(module, "__file__", None) or ""
    return file.endswith(".py") and os.path.abspath(file).startswith(app_dir + os.sep) and "site-packages" not in file


def _note_modules(report: dict[str, Any], before: set[str], known: set[str], app_dir: str) -> None:
    """Extension modules that are loaded, those that lie beside them in their packages, and the application's own files."""
    folders = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name in before or name == "_oarlock":
            continue
        if file.endswith(".so") and not file.startswith(STDLIB + os.sep + "lib-dynload"):
            report["extensions"].append([name, file])
        if name not in known and _own(module, app_dir):
            report["files"].append(file)
        top = sys.modules.get(name.partition(".")[0])
        path = getattr(top, "__path__", None)
        if path and name not in known:
            folder = Path(next(iter(path)))
            if not str(folder).startswith(STDLIB) or "site-packages" in str(folder):
                folders.add(folder)
    loaded = {path for _, path in report["extensions"]}
    for folder in sorted(folders):
        report["late"] += [[name, str(path)] for name, path in _below(folder) if str(path) not in loaded]
    report["foreign"] = [p for folder in sorted(folders) for p in _foreign(folder)]


def _extensions_of(name: str) -> list[list[str]] | None:
    """Extension modules of a module that the application would import later: found by name, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    origin = getattr(spec, "origin", None) or ""
    where = list(getattr(spec, "submodule_search_locations", None) or [])
    entries = [[name, origin]] if origin.endswith(".so") else []
    if (where and not where[0].startswith(STDLIB + os.sep)) or "site-packages" in (where[0] if where else ""):
        entries += [[n, str(p)] for n, p in _below(Path(where[0]))]
    return entries if spec else None


def main() -> None:
    target, app_dir, package_dir, factory = sys.argv[1:5]
    out = os.fdopen(3, "w")
    app_dir = os.path.abspath(app_dir)
    sys.path[:1] = [app_dir]
    sys.path.append(package_dir)
    before_modules = set(sys.modules)
    from oarlock import _gil, _imports, _manifest

    _gil.watch("allow")
    baseline, threads = _descriptors(), _threads()
    known = set(sys.modules)
    report: dict[str, Any] = {
        "error": "",
        "gil": "",
        "objects": [],
        "threads": [],
        "open": [],
        "extensions": [],
        "late": [],
        "files": [],
    }
    try:
        _manifest.import_app(target, factory == "1")
    except BaseException as exc:
        report["error"] = f"{type(exc).__name__}: {exc}"
    report["gil"] = _gil.culprit or ""
    report["gil_on"] = _gil.enabled()
    report["free_threaded"] = _gil.FREE_THREADED
    report["objects"] = _imports.warnings(2)
    report["threads"] = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    report["native_threads"] = max(0, _threads() - threads - len(report["threads"]))
    report["open"] = [
        name
        for fd, name in _descriptors().items()
        if baseline.get(fd) != name
        and (name.startswith("socket:") or (name.startswith("/") and not name.startswith("/dev/")))
    ]
    _note_modules(report, before_modules, known, app_dir)
    report["found"] = {name: _extensions_of(name) for name in sys.argv[5:]}
    out.write(json.dumps(report) + "\n")
    out.flush()
    os._exit(0)  # threads and atexit handlers of the application's do not matter any more


if __name__ == "__main__":
    main()
