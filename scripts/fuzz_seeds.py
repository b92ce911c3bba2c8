"""Writes the cases of tests/http as seeds for the fuzzers: fuzz_seeds.py FOLDER-FOR-HTTP FOLDER-FOR-ORIGIN"""

import sys
from pathlib import Path

from http_cases import cases

FORWARDED = [
    b"for=192.0.2.1;proto=https;host=a, for=10.0.0.2",
    b'For="[2001:db8::1]:4711";by=_x',
    b"192.0.2.1, 10.0.0.2, 10.0.0.3      https, http",
    b'"a\\",b";c=d,,;=',
]


def http(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for file in ("refused.case", "smuggling.case", "requests.case"):
        for _, data, _ in cases(file):
            if len(data) > 8192:
                continue
            _, _, body = data.partition(b"\r\n\r\n")
            for seed in (data, body) if body else (data,):
                (folder / f"{count:04}").write_bytes(b"\x80" + seed)
                count += 1
    return count


def origin(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [data for _, data, _ in cases("proxy.case")] + FORWARDED
    for i, seed in enumerate(seeds):
        (folder / f"{i:04}").write_bytes(seed)
    return len(seeds)


def main() -> None:
    print(f"{http(Path(sys.argv[1]))} + {origin(Path(sys.argv[2]))} seeds")


if __name__ == "__main__":
    main()
