"""Writes the requests of tests/http as seeds for the HTTP fuzzer: fuzz_seeds.py FOLDER"""

import sys
from pathlib import Path

from http_cases import cases


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for file in ("refused.case", "requests.case"):
        for _, data, _ in cases(file):
            if len(data) > 8192:
                continue
            _, _, body = data.partition(b"\r\n\r\n")
            for seed in (data, body) if body else (data,):
                (folder / f"{count:04}").write_bytes(b"\x80" + seed)
                count += 1
    print(f"{count} seeds")


if __name__ == "__main__":
    main()
