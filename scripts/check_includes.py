"""Who may include whom (docs/tour.md): fails on an include that crosses a wall or uses a library past its door."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# folder -> folders whose headers it may include
ALLOWED = {
    "include/oarlock": {"include/oarlock"},
    "shared": {"include/oarlock", "shared"},
    "master": {"include/oarlock", "shared", "master"},
    "worker": {"include/oarlock", "shared", "worker"},
    "worker/py": {"include/oarlock", "shared", "worker", "worker/py"},
    "load": {"include/oarlock", "load"},
    "main.c": {"include/oarlock", "shared", "master", "worker"},
}
# worker/ headers that the bridge may see: the rest belongs to the event loop
BRIDGE_MAY_SEE = {"worker/app.h", "worker/http_msg.h", "worker/poll.h", "worker/driver.h", "worker/host.h"}
# library header -> the files that are its door
DOORS = {
    "ev.h": {"worker/poll.h", "master/master.c"},
    "cjson/cJSON.h": {"shared/json_manifest.c"},
    "Python.h": {"worker/py/py.h"},
    "http_parser.h": {"load/parse.c"},
}


def room(path: str) -> str:
    if path == "main.c":
        return path
    return "worker/py" if path.startswith("worker/py/") else path.rpartition("/")[0]


def resolve(name: str) -> str:
    return f"include/{name}" if name.startswith("oarlock/") else name


def problems(path: str, text: str) -> list[str]:
    found = []
    for name in re.findall(r'^#include [<"]([^>"]+)[>"]', text, re.M):
        if name in DOORS and path not in DOORS[name]:
            found.append(f"{path}: includes {name}; its door is {', '.join(sorted(DOORS[name])) or 'the tests'}")
        if "/" not in name or not (ROOT / resolve(name)).exists():
            continue
        target = room(resolve(name))
        if target not in ALLOWED[room(path)]:
            found.append(f"{path}: a file of {room(path)}/ may not include {name}")
        if room(path) == "worker/py" and target == "worker" and name not in BRIDGE_MAY_SEE:
            found.append(f"{path}: the bridge may see {', '.join(sorted(BRIDGE_MAY_SEE))}, not {name}")
    return found


def main() -> None:
    files = [ROOT / "main.c"]
    for folder in ("include/oarlock", "shared", "master", "worker", "worker/py", "load"):
        files += sorted((ROOT / folder).glob("*.[ch]"))
    found = [p for f in files for p in problems(str(f.relative_to(ROOT)), f.read_text())]
    print("\n".join(found) or f"includes: {len(files)} files in order")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
