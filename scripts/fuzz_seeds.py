"""The fuzzers' corpora: fuzz_seeds.py unpack FOLDER | fuzz_seeds.py keep NAME FOLDER

unpack  writes the cases of tests/http and the kept corpora (tests/fuzz/NAME.corpus, an input a line in base64) to
        FOLDER/http, FOLDER/route and FOLDER/origin.
keep    writes tests/fuzz/NAME.corpus from a folder that libFuzzer has merged.
"""

import base64
import sys
from pathlib import Path

from http_cases import ROOT, cases

KEPT = ROOT / "tests/fuzz"
LONGEST_KEPT = 3000  # bytes: a repository is no place for more
FORWARDED = [
    b"for=192.0.2.1;proto=https;host=a, for=10.0.0.2",
    b'For="[2001:db8::1]:4711";by=_x',
    b"192.0.2.1, 10.0.0.2, 10.0.0.3      https, http",
    b'"a\\",b";c=d,,;=',
]


def http() -> list[bytes]:
    seeds = []
    for file in ("refused.case", "smuggling.case", "requests.case"):
        for _, data, _ in cases(file):
            _, _, body = data.partition(b"\r\n\r\n")
            seeds += [b"\x80" + seed for seed in (data, body) if seed and len(data) <= 8192]
    return seeds


def seeds_of(name: str) -> list[bytes]:
    if name == "http":
        return http()
    if name == "origin":
        return [data for _, data, _ in cases("proxy.case")] + FORWARDED
    return [path.read_bytes() for path in sorted((KEPT / "route_seeds").iterdir())]


def unpack(folder: Path) -> None:
    counts = []
    for name in ("http", "route", "origin"):
        kept = KEPT / f"{name}.corpus"
        lines = kept.read_text().split() if kept.exists() else []
        inputs = seeds_of(name) + [base64.b64decode(line) for line in lines]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(inputs):
            (folder / name / f"seed-{i:05}").write_bytes(data)
        counts.append(f"{len(inputs)} for {name}")
    print(f"seeds: {', '.join(counts)}")


def keep(name: str, folder: Path) -> None:
    found = {path.read_bytes() for path in folder.iterdir() if 0 < path.stat().st_size <= LONGEST_KEPT}
    inputs = sorted(found, key=lambda data: (len(data), data))
    (KEPT / f"{name}.corpus").write_text("".join(base64.b64encode(data).decode() + "\n" for data in inputs))
    print(f"tests/fuzz/{name}.corpus: {len(inputs)} inputs")


def main() -> None:
    match sys.argv[1:]:
        case ["unpack", folder]:
            unpack(Path(folder))
        case ["keep", name, folder]:
            keep(name, Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
