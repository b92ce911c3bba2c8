"""``oarlock doctor``: what in an application stands in the way of threads, of several workers, and of running without the GIL."""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from oarlock.compare import rules
from oarlock.compare.interpreters import PACKAGE, CompareError, Interpreter
from oarlock.compare.options import Pythons, common, interpreters
from oarlock.compare.terminal import Progress

# Loads extension modules one after the other without running their packages, and says which turned the GIL on.
_TRY = """
import importlib.machinery, importlib.util, json, sys, _imp
for name, path in json.loads(sys.argv[1]):
    print("begin", name, flush=True)
    try:
        loader = importlib.machinery.ExtensionFileLoader(name, path)
        _imp.create_dynamic(importlib.util.spec_from_file_location(name, path, loader=loader))
    except BaseException as exc:
        print("fail", name, type(exc).__name__ + ": " + str(exc).replace(chr(10), " "), flush=True)
    if sys._is_gil_enabled():
        print("on", name, flush=True)
        break
    print("off", name, flush=True)
"""


# Workers import after the fork (docs/process-model.md), so nothing that was opened or started is inherited.
IMPORTED_TWICE = "the loader and each worker import the application"


@dataclass(frozen=True)
class Diagnosis:
    """One finding. ``level``: error (it will go wrong), warning (it may), note."""

    level: str
    where: str
    what: str
    why: str
    fix: str

    def text(self) -> str:
        return f"{self.level:<8} {self.where}\n         {self.what}\n         why: {self.why}\n         fix: {self.fix}"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="oarlock doctor",
        description="Looks for what in an application stands in the way of threads, of several workers, and of running without the GIL.",
    )
    common(p, app_needed=True)
    p.add_argument("--json", type=Path, metavar="FILE", help="write the findings there too")
    p.add_argument("--strict", action="store_true", help="exit status 3 for warnings also, not only for errors")
    p.add_argument(
        "--wheels", action="store_true", help="ask the package index for free-threaded wheels of what is installed"
    )
    return p


# ---- what the interpreter finds -----------------------------------------------------------------------


def probe(python: Interpreter, app: str, app_dir: str, factory: bool, later: Sequence[str] = ()) -> dict[str, Any]:
    """Imports the application in a process of its own.

    Raises:
        CompareError: the process died, with what it said.
    """
    with tempfile.TemporaryFile() as errors:
        read_end, write_end = os.pipe()
        script = str(Path(__file__).with_name("probe.py"))
        environment = {k: v for k, v in os.environ.items() if k != "PYTHON_GIL"}
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$0" "$@" 3>&{write_end}', python.executable, "-X", "faulthandler", script, app,
             app_dir, str(PACKAGE), "1" if factory else "0", *later],
            pass_fds=(write_end,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment,
        )  # fmt: skip
        os.close(write_end)
        with os.fdopen(read_end) as out:
            line = out.readline()
        process.wait(60)
        if not line:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip().splitlines()[-8:]
            raise CompareError(f"{python.executable} died while it imported {app}:\n  " + "\n  ".join(text))
        return json.loads(line)  # type: ignore[no-any-return]


def try_extensions(python: Interpreter, modules: list[list[str]]) -> dict[str, str]:
    """Name -> "off" (it declares that it works without the GIL), "on" (it does not), or why it could not be loaded."""
    found: dict[str, str] = {}
    left = list(modules)
    while left:
        done = subprocess.run(
            [python.executable, "-c", _TRY, json.dumps(left)], capture_output=True, text=True, timeout=300
        )
        at = ""
        for line in done.stdout.splitlines():
            word, _, rest = line.partition(" ")
            name, _, reason = rest.partition(" ")
            if word == "begin":
                at = name
            elif word == "fail":
                found[name] = reason
            elif word in ("on", "off") and (name not in found or word == "on"):
                found[name] = word
        if at and at not in found:
            found[at] = f"it ended the interpreter (status {done.returncode})"
        rest_of = [m for m in left if m[0] not in found]
        if len(rest_of) == len(left):
            break
        left = rest_of
    return found


# ---- what the sources say ------------------------------------------------------------------------------


def later_imports(files: list[Path]) -> dict[str, list[tuple[Path, int, str]]]:
    """Modules that functions import when they are called: name -> (file, line, function)."""
    found: dict[str, list[tuple[Path, int, str]]] = {}
    for path in files:
        try:
            tree = ast.parse(path.read_text())
        except (SyntaxError, UnicodeDecodeError):
            continue
        for f in ast.walk(tree):
            if not isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(f):
                names = []
                if isinstance(node, ast.Import):
                    names = [a.name for a in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "importlib.import_module",
                    "import_module",
                    "__import__",
                ):
                    names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                for name in names:
                    found.setdefault(name, []).append((path, getattr(node, "lineno", 0), f.name))
    return found


def _shown(path: str | Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _gil_findings(
    python: Interpreter, report: dict[str, Any], later: dict[str, list[tuple[Path, int, str]]]
) -> list[Diagnosis]:
    found = []
    fix = "use a release with a free-threaded wheel that declares Py_mod_gil, or serve with the GIL interpreter"
    if report["gil"]:
        found.append(
            Diagnosis("error", "at start", report["gil"], "all threads of a worker take turns from then on", fix)
        )
    modules = report["extensions"] + report["late"]
    by_later = {entry[0]: name for name, entries in report["found"].items() for entry in entries or []}
    modules += [entry for entries in report["found"].values() for entry in entries or [] if entry not in modules]
    verdicts = try_extensions(python, modules)
    loaded = {name for name, _ in report["extensions"]}
    for name, path in modules:
        verdict = verdicts.get(name, "not tried")
        if verdict == "on" and name in loaded and name not in report["gil"]:
            found.append(
                Diagnosis("error", "at start", f"the extension module {name} ({path}) does not declare that it works without the GIL",
                          "it was imported after another had turned the GIL on, and would turn it on itself", fix)
            )  # fmt: skip
        elif verdict == "on" and name not in loaded:
            places = later.get(by_later.get(name, ""), [])
            chain = "; ".join(f"{_shown(p)}:{line} in {function}()" for p, line, function in places)
            where = chain or "not imported at start"
            found.append(
                Diagnosis("error" if places else "warning", where,
                          f"the extension module {name} ({path}) would turn the GIL on: it does not declare that it works without (Py_mod_gil)"
                          + (f"; imported by {chain}" if chain else "; nothing imports it yet"),
                          "an import inside a handler turns the GIL on in a server that serves, for all threads of that worker and for good"
                          if places else "if a handler comes to import it, all threads of that worker take turns from then on", fix)
            )  # fmt: skip
        elif verdict not in ("on", "off", "not tried") and name in loaded:
            found.append(Diagnosis("note", "at start", f"the extension module {name} could not be tried alone: {verdict}",
                                   "whether it declares Py_mod_gil is seen only in its package", "look at the line about the GIL above, if there is one"))  # fmt: skip
    return found


def _import_findings(report: dict[str, Any], kind: str) -> list[Diagnosis]:
    found = []
    if report["error"]:
        found.append(Diagnosis("error", f"import, {kind}", report["error"], f"the application does not start on the {kind} interpreter",
                               "mend the import, or install what is missing for that interpreter"))  # fmt: skip
    for line in report["objects"]:
        found.append(Diagnosis("warning", "import", line, "an asyncio object works on one event loop; with two threads there are two",
                               "make it in the App's lifespan, and take it from request.state"))  # fmt: skip
    for name in report["threads"]:
        found.append(Diagnosis("warning", "import", f"the thread '{name}' runs after the import",
                               f"{IMPORTED_TWICE}: the loader's thread is ended in the middle of its work, and each worker has one",
                               "start it in on_worker_start, which the loader does not run"))  # fmt: skip
    if report["native_threads"]:
        found.append(Diagnosis("note", "import", f"{report['native_threads']} threads that are not Python's run after the import",
                               f"libraries (BLAS, for one) start pools of their own; {IMPORTED_TWICE}, so there is one pool for each worker",
                               "set the library's number of threads (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS) to 1"))  # fmt: skip
    for name in report["open"]:
        kind_of = "socket" if name.startswith("socket:") else "file"
        found.append(Diagnosis("warning", "import", f"a {kind_of} is open after the import: {name}",
                               f"{IMPORTED_TWICE}, and each opens it: a port is taken by the first, a file opened for writing is truncated by each",
                               "open it in on_worker_start, or in the lifespan"))  # fmt: skip
    return found


# ---- installed packages ----------------------------------------------------------------------------------


def distributions(python: Interpreter) -> list[PathDistribution]:
    """What is installed for an interpreter."""
    code = "import site, sys, json; print(json.dumps([p for p in sys.path if 'site-packages' in p]))"
    done = subprocess.run([python.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return [
        PathDistribution(info)
        for folder in json.loads(done.stdout)
        for info in sorted(Path(folder).glob("*.dist-info"))
        if info.name.partition("-")[0].lower() not in ("pip", "setuptools", "oarlock", "wheel")
    ]  # fmt: skip


def compiled(d: PathDistribution) -> bool:
    """Does it have extension modules? A wheel's tag says so."""
    wheel = d.read_text("WHEEL") or ""
    tags = [line.partition(":")[2].strip() for line in wheel.splitlines() if line.startswith("Tag:")]
    return not tags or not all(tag.endswith("-none-any") for tag in tags)


def has_wheel(python: Interpreter, name: str, version: str) -> bool:
    """Does the package index have a wheel of this version for the interpreter?"""
    with tempfile.TemporaryDirectory(prefix="oarlock-doctor-") as folder:
        done = subprocess.run(
            [python.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:",
             "-q", "-d", folder, f"{name}=={version}"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    return done.returncode == 0


def _wheel_findings(gil: Interpreter, ft: Interpreter, ask: bool, say: Any) -> list[Diagnosis]:
    there = {(d.metadata["Name"].lower().replace("_", "-")): d for d in distributions(ft)}
    found = []
    for d in distributions(gil):
        name, version = d.metadata["Name"], d.version
        other = there.get(name.lower().replace("_", "-"))
        if other and other.version == version:
            continue
        if not other and compiled(d):
            if ask:
                say(f"asking the index for {name} {version}")
                if has_wheel(ft, name, version):
                    continue
                what = f"{name} {version} has no wheel for {ft.version} free-threaded in the package index"
                found.append(Diagnosis("error", "packages", what, "it would have to be built from source, and may not work without the GIL",
                                       f"look for another version of {name}, or build and test it yourself"))  # fmt: skip
            else:
                found.append(Diagnosis("note", "packages", f"{name} {version} is compiled, and not installed for the free-threaded interpreter",
                                       "whether there is a wheel for it decides whether you can deploy without the GIL",
                                       "give --wheels to ask the package index, or --ft-venv with an environment that has it"))  # fmt: skip
        elif other:
            found.append(Diagnosis("warning", "packages", f"{name} is {version} for the GIL and {other.version} for the free-threaded interpreter",
                                   "a comparison of the two would compare versions too", "install identical versions (--requirements does)"))  # fmt: skip
    return found


# ---- all of it --------------------------------------------------------------------------------------------


def examine(args: argparse.Namespace, pythons: Pythons, say: Any) -> list[Diagnosis]:
    app_dir = os.path.abspath(args.app_dir)
    gil, ft = pythons["gil"][0], pythons["ft"][0]
    say("importing the application with the GIL")
    first = probe(gil, args.app, app_dir, args.factory)
    say("importing the application without the GIL")
    second = probe(ft, args.app, app_dir, args.factory)
    files = sorted({Path(f) for f in (*first["files"], *second["files"])})
    later = later_imports(files)
    names = [n for n in later if n.partition(".")[0] not in sys.stdlib_module_names]
    if names:
        second = probe(ft, args.app, app_dir, args.factory, names)
    found = _import_findings(first, "GIL")
    found += [d for d in _import_findings(second, "free-threaded") if d not in found]
    say("looking at extension modules")
    found += _gil_findings(ft, second, later)
    missing = [n for n, entries in second["found"].items() if entries is None]
    for name in missing:
        p, line, function = later[name][0]
        found.append(Diagnosis("warning", f"{_shown(p)}:{line}", f"{function}() imports {name}, which the free-threaded interpreter does not have",
                               "the handler will fail there", f"install {name} for it"))  # fmt: skip
    found += _wheel_findings(gil, ft, args.wheels, say)
    say("reading the sources")
    for f in rules.check([(path, _shown(path)) for path in files]):
        found.append(Diagnosis("warning", f"{f.file}:{f.line}", f"[{f.rule}] {f.what}", f.why, f.fix))
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(dict.fromkeys(found), key=lambda d: order[d.level])


def run(args: argparse.Namespace) -> int:
    progress = Progress("doctor")
    pythons = interpreters(args, progress)
    found = examine(args, pythons, progress)
    progress.done()
    for d in found:
        print(d.text() + "\n")
    count = {level: sum(d.level == level for d in found) for level in ("error", "warning", "note")}
    print(f"{args.app}: {count['error']} errors, {count['warning']} warnings, {count['note']} notes")
    if args.json:
        args.json.write_text(
            json.dumps({"format": 1, "application": args.app, "findings": [asdict(d) for d in found]}, indent=1) + "\n"
        )
    return 3 if count["error"] or (args.strict and count["warning"]) else 0
