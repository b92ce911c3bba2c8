"""Writes the requests of tests/http as seeds for the HTTP fuzzer: fuzz_seeds.py FOLDER"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def unescape(text: str) -> bytes:
    """The notation of tests/http: \\r \\n \\t \\0 \\xNN, {H} a Host line, {N} letters, {FN} field lines."""
    text = text.replace("{H}", "Host: a\\r\\n")
    text = re.sub(r"\{F(\d+)\}", lambda m: "A: b\\r\\n" * int(m[1]), text)
    text = re.sub(r"\{(\d+)\}", lambda m: "a" * int(m[1]), text)
    known = {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}

    def one(m: re.Match[str]) -> str:
        return chr(int(m[1][1:], 16)) if len(m[1]) == 3 else known.get(m[1], m[1])

    return re.sub(r"\\(x[0-9a-f]{2}|.)", one, text).encode("latin-1")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for file in sorted((ROOT / "tests/http").glob("*.case")):
        for line in file.read_text().splitlines():
            parts = line.split(" | ")
            if line.startswith("#") or len(parts) < 3 or len(data := unescape(parts[1])) > 8192:
                continue
            _, _, body = data.partition(b"\r\n\r\n")
            for seed in (data, body) if body else (data,):
                (folder / f"{count:04}").write_bytes(b"\x80" + seed)
                count += 1
    print(f"{count} seeds")


if __name__ == "__main__":
    main()
