"""Reads what the HTTP tests share: the cases of tests/http and the rules of include/oarlock/rules.h."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def rules() -> dict[str, int]:
    """Each rule of the gate with the status that it answers."""
    text = (ROOT / "include/oarlock/rules.h").read_text()
    return {name: int(status) for name, status in re.findall(r"RULE\((\w+), (\d+),", text)}


def unescape(text: str) -> bytes:
    """The notation of tests/http: \\r \\n \\t \\0 \\xNN, {H} a Host line, {N} letters, {FN} field lines."""
    text = text.replace("{H}", "Host: a\\r\\n")
    text = re.sub(r"\{F(\d+)\}", lambda m: "A: b\\r\\n" * int(m[1]), text)
    text = re.sub(r"\{(\d+)\}", lambda m: "a" * int(m[1]), text)
    known = {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}

    def one(m: re.Match[str]) -> str:
        return chr(int(m[1][1:], 16)) if len(m[1]) == 3 else known.get(m[1], m[1])

    return re.sub(r"\\(x[0-9a-f]{2}|.)", one, text).encode("latin-1")


def cases(file: str) -> list[tuple[str, bytes, str]]:
    """Name, bytes and expectation of each case in a file of tests/http."""
    lines = (ROOT / "tests/http" / file).read_text().splitlines()
    split = [line.split(" | ") for line in lines if line and not line.startswith("#")]
    return [(name, unescape(data), expected) for name, data, expected in split]
