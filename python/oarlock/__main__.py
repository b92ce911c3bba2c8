"""``python -m oarlock`` and the ``oarlock`` command: runs the server with this interpreter."""

import os
import sys
from pathlib import Path


def _server() -> Path:
    here = Path(__file__).resolve().parent
    places = [here / "_bin" / "oarlock", here.parents[1] / "build" / "oarlock", here.parents[3] / "bin" / "oarlock"]
    for place in places:
        if place.exists():
            return place
    sys.exit(
        f"oarlock: the server was not found in {', '.join(map(str, places))}; build it with `make build`, or install with pip"
    )


def main() -> None:
    """Replaces this process by the server. The interpreter is this one unless --python says otherwise."""
    server = str(_server())
    if "OARLOCK_PYTHON" not in os.environ and not os.environ.get("VIRTUAL_ENV"):
        os.environ["OARLOCK_PYTHON"] = sys.executable
    elif "OARLOCK_PYTHON" not in os.environ:
        os.environ["OARLOCK_PYTHON"] = sys.executable
        os.environ["VIRTUAL_ENV"] = sys.prefix if sys.prefix != sys.base_prefix else ""
    os.execv(server, ["oarlock", *sys.argv[1:]])


if __name__ == "__main__":
    main()
