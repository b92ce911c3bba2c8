"""Circles of the include and call graph, as text: files of which each needs all others, so that none can be read first.

A node is a name: worker/conn stands for conn.c and conn.h. An edge: a file includes the other's header, or calls a function
that the other's .c defines (calls through pointers are not seen; callbacks are how a circle is opened). Fails when a
name is in a circle that is not in KNOWN, the names that were in circles when this check was made: they may only become fewer.

usage: check_circles.py [--edges]     --edges also prints who calls what inside each circle
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("include/oarlock", "shared", "master", "worker", "worker/py")
KNOWN = {
    "worker/py": (
        "py py_attach py_background py_call py_handle py_jobs py_json py_loop py_place py_poller py_pool py_pool_size "
        "py_pump py_queue py_respond py_round py_spare py_task"
    ),
    "worker": (
        "accept batch conn conn_in conn_out conn_room conn_stream dispatch forked params relay thread timeout timing"
    ),
    "shared": "net net_owner net_unix route_build route_order route_pattern",
}
Graph = dict[str, dict[str, set[str]]]  # from -> to -> why: headers included, functions called


def sources() -> dict[str, list[Path]]:
    """Name -> its files."""
    found: dict[str, list[Path]] = defaultdict(list, {"main": [ROOT / "main.c"]})
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).glob("*.[ch]")):
            found[f"{folder}/{file.stem}"].append(file)
    return found


def code(file: Path) -> str:
    """Without comments and texts: names in those are no calls."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", file.read_text(), flags=re.S)
    return re.sub(r"(?m)^(?!#include).*$", lambda line: re.sub(r'"(?:\\.|[^"\\\n])*"', '""', line[0]), text)


def definitions(text: str) -> set[str]:
    """Functions that a .c defines for others: a line at column 0 that is not static and opens a body."""
    heads = re.findall(r"^(?!static\b|typedef\b|#)(\w[^;{}()]*?\b(\w+))\((?:[^;{}])*?\)\s*\{", text, re.M)
    return {name for head, name in heads if head.split()[0] not in ("if", "for", "while", "switch", "return", "else")}


def graph() -> Graph:
    names = sources()
    text = {name: {file: code(file) for file in files} for name, files in names.items()}
    owner = {
        f: name
        for name, files in text.items()
        for file, t in files.items()
        if file.suffix == ".c"
        for f in definitions(t)
    }
    header = {
        str(file.relative_to(ROOT)): name for name, files in names.items() for file in files if file.suffix == ".h"
    }
    edges: Graph = {name: defaultdict(set) for name in names}
    for name, files in text.items():
        for file, t in files.items():
            for included in re.findall(r'^#include [<"]([^>"]+)[>"]', t, re.M):
                path = f"include/{included}" if included.startswith("oarlock/") else included
                if header.get(path, name) != name:
                    edges[name][header[path]].add(included)
            if file.suffix == ".c":
                for word in set(re.findall(r"\b\w+\b", t)) & owner.keys():
                    if owner[word] != name:
                        edges[name][owner[word]].add(f"{word}()")
    return edges


def circles(edges: Graph) -> list[set[str]]:
    """Strongly connected components of more than one node, largest first: all that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(edges[start])
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += edges[at]
        return seen

    reach = {name: reached(name) for name in edges}
    found = {frozenset(b for b in reach[a] if a in reach[b]) for a in edges if a in reach[a]}
    return sorted((set(circle) for circle in found if len(circle) > 1), key=lambda c: (-len(c), min(c)))


def main() -> None:
    edges = graph()
    found = circles(edges)
    known = {f"{folder}/{stem}" for folder, stems in KNOWN.items() for stem in stems.split()}
    grown = []
    for circle in found:
        print(f"circle of {len(circle)}: {' '.join(sorted(circle))}")
        if "--edges" in sys.argv[1:]:
            for a in sorted(circle):
                for b in sorted(circle & edges[a].keys()):
                    print(f"    {a} -> {b}: {' '.join(sorted(edges[a][b]))}")
        if new := sorted(circle - known):
            grown.append(f"the circle has grown by {' '.join(new)}; check_circles.py --edges shows by which calls")
    if gone := sorted(known.difference(*found)) if not grown else []:
        print(f"circles: no longer in one, to be taken out of KNOWN: {' '.join(gone)}")
    print("\n".join(grown) or f"circles: {len(found)} among {len(edges)} names, none larger than those that are known")
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()
