"""``python -m oarlock`` and the ``oarlock`` command: runs the server with this interpreter, or one of the tools."""

import importlib
import os
import sys
from pathlib import Path

TOOLS = {"compare": "command", "tune": "tune", "doctor": "doctor"}  # and their modules


def server_path() -> Path:
    """The server's executable: installed by pip, in the source tree, or installed by make."""
    here = Path(__file__).resolve().parent
    places = [here / "_bin" / "oarlock", here.parents[1] / "build" / "oarlock", here.parents[3] / "bin" / "oarlock"]
    for place in places:
        if place.exists():
            return place
    sys.exit(
        f"oarlock: the server was not found in {', '.join(map(str, places))}; build it with `make build`, or install with pip"
    )


def _tool(name: str) -> None:
    """The tools are Python, and need libraries that a server does not."""
    try:
        module = importlib.import_module(f"oarlock.compare.{TOOLS[name]}")
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("oarlock"):
            raise
        sys.exit(
            f"oarlock {name}: needs the package '{exc.name}', which {sys.executable} does not have; install it with\n"
            f"    {sys.executable} -m pip install 'oarlock[compare]'\n"
            "(only the environment that runs the tools needs it: for the other interpreter `pip install oarlock` is enough;\n"
            "in the source tree `make compare`, `make tune` and `make doctor` do that in an environment of their own)"
        )
    cli = importlib.import_module("oarlock.compare.cli")
    sys.exit(cli.main(name, module, sys.argv[2:]))


def main() -> None:
    """Replaces this process by the server. The interpreter is this one unless --python says otherwise."""
    if len(sys.argv) > 1 and sys.argv[1] in TOOLS:
        _tool(sys.argv[1])
    server = str(server_path())
    if "OARLOCK_PYTHON" not in os.environ and not os.environ.get("VIRTUAL_ENV"):
        os.environ["OARLOCK_PYTHON"] = sys.executable
    elif "OARLOCK_PYTHON" not in os.environ:
        os.environ["OARLOCK_PYTHON"] = sys.executable
        os.environ["VIRTUAL_ENV"] = sys.prefix if sys.prefix != sys.base_prefix else ""
    os.execv(server, ["oarlock", *sys.argv[1:]])


if __name__ == "__main__":
    main()
