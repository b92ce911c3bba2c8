"""Options that the tools share, and what they stand for."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from oarlock.__main__ import server_path
from oarlock.compare import scenarios as s
from oarlock.compare.interpreters import PACKAGE, CompareError, Interpreter, find

MANIFEST = """
import sys
sys.path[:0] = [sys.argv[2]]
sys.path.append(sys.argv[3])
from oarlock._manifest import dumps, import_app
print(dumps(import_app(sys.argv[1], sys.argv[4] == "1")))
"""

type Pythons = dict[str, tuple[Interpreter, str]]  # kind -> interpreter and its virtual environment ("": none)


def seconds(text: str) -> float:
    """A duration as the server's options have it: "400", "400s", "1500ms", "7m". In seconds.

    Raises:
        argparse.ArgumentTypeError: it is none, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text, re.ASCII)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"'{text}' is not a time like 250ms, 90s, 7m or 1h, above 0")
    return float(match[1]) * {"ms": 0.001, "m": 60.0, "h": 3600.0}.get(match[2], 1.0)


def common(parser: argparse.ArgumentParser, app_needed: bool) -> None:
    """Options that the tools share."""
    parser.add_argument(
        "app",
        nargs=None if app_needed else "?",
        default="",
        metavar="module:attribute",
        help="the application" + ("" if app_needed else "; left out: the built-in scenarios alone"),
    )
    parser.add_argument("--app-dir", default=".", metavar="DIR", help="folder that is put in front of sys.path")
    parser.add_argument("--factory", action="store_true", help="the attribute is a function that returns the App")
    # `oarlock run --gil` is about modules that turn the GIL on, so an interpreter has another name.
    parser.add_argument(
        "--gil-python",
        dest="gil",
        metavar="PYTHON",
        help="the interpreter with the GIL (default: the one the build chose, or this)",
    )
    parser.add_argument("--ft-python", dest="ft", metavar="PYTHON", help="the free-threaded interpreter")
    parser.add_argument("--gil-venv", metavar="DIR", help="virtual environment for the interpreter with the GIL")
    parser.add_argument("--ft-venv", metavar="DIR", help="virtual environment for the free-threaded interpreter")
    parser.add_argument(
        "--requirements",
        type=Path,
        metavar="FILE",
        help="make both environments, at identical versions, from this file; in the cache",
    )


def measuring(parser: argparse.ArgumentParser, longest: float) -> None:
    parser.add_argument(
        "--time",
        type=seconds,
        default=longest,
        metavar="DURATION",
        help=f"how long to measure at most, like 90s or 7m (default: {longest:.0f}s)",
    )
    parser.add_argument("--scenarios", type=Path, metavar="FILE", help="TOML file; see --write-scenarios")
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a built-in one, or a group (five, load, all); several times. Built in: {', '.join(s.BUILTIN)}",
    )
    parser.add_argument(
        "--unsafe-methods",
        action="store_true",
        help="send methods other than GET and HEAD too: thousands of requests that may change the application's data",
    )
    parser.add_argument("--server-cores", metavar="LIST", help="like 0-3,6; default: all but those of the generator")
    parser.add_argument("--load-cores", metavar="LIST", help="cores of the load generator; default: the last")
    parser.add_argument("--seed", type=int, help="of the order of things; for repeating a run")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="folder for the servers' logs (default: one in the temporary folder)"
    )


def cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


def core_list(text: str) -> list[int]:
    """ "0-3,6" as numbers.

    Raises:
        CompareError: it is no list of cores that this process may use.
    """
    try:
        found: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise CompareError(f"'{text}' is not a list of cores like 0-3,6") from None
    unknown = sorted(set(found) - set(cores()))
    if unknown:
        raise CompareError(f"core {unknown[0]} is not among those that this process may use: {cores()}")
    return found


def place(args: argparse.Namespace, size: int) -> tuple[list[int], list[int], bool]:
    """Cores of the server, of the generator, and whether they overlap."""
    have = cores()
    load = core_list(args.load_cores) if args.load_cores else have[-1 if len(have) < 8 else -2 :]
    if args.server_cores:
        server = core_list(args.server_cores)
    else:
        apart = [c for c in have if c not in load]
        # Two cores: deployments of two threads or processes need both. One thread does not.
        server = apart if len(have) > 2 or size == 1 else have
        server = server or have
    return server, load, bool(set(server) & set(load))


def interpreters(args: argparse.Namespace, say: Any) -> Pythons:
    """Kind -> interpreter and its virtual environment.

    Raises:
        CompareError: one is not of its kind, or there is no oarlock that can serve it; with the command that installs it.
    """
    venvs = {"gil": args.gil_venv or "", "ft": args.ft_venv or ""}
    if args.requirements:
        from oarlock.compare import environments

        for kind in ("gil", "ft"):
            base = find(kind, getattr(args, kind), None)
            venvs[kind] = str(environments.make(base, args.requirements, say))
    found = {kind: (find(kind, getattr(args, kind), venvs[kind]), venvs[kind]) for kind in ("gil", "ft")}
    for kind, (python, _) in found.items():
        if not python.server and not bridge_beside_server(kind):
            add = f", or add oarlock to {args.requirements}" if args.requirements else ""
            raise CompareError(
                f"{python.executable} has no oarlock, and the one of {sys.executable} cannot serve it; install it with\n"
                f"    {python.executable} -m pip install oarlock\n"
                f"(without [compare]: the tools need numpy, scipy and plotly only where they run themselves{add})"
            )
    return found


def bridge_beside_server(kind: str) -> bool:
    """Can this environment's own server serve an interpreter of the kind? As worker/bridge.c looks for the bridge."""
    folder = server_path().parent
    return any((at / f"{kind}.so").exists() for at in (folder / "bridge", folder.parent / "lib" / "oarlock" / "bridge"))


def manifest(app: str, app_dir: str, factory: bool, python: Interpreter) -> dict[str, Any]:
    """The application's routes, read by the interpreter that will serve it.

    Raises:
        CompareError: it can't be imported; with Python's last words.
    """
    done = subprocess.run(
        [python.executable, "-c", MANIFEST, app, os.path.abspath(app_dir), str(PACKAGE), "1" if factory else "0"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        raise CompareError(f"{app}: " + "\n  ".join(done.stderr.strip().splitlines()[-6:]))
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]
