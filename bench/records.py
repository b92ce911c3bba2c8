"""Kept results of benchmarks, in bench/results/: JSON Lines, so that a run's figures are few lines and a change is seen.

A run in parts, each a result as docs/compare.md describes: a line "part" with all but its rows, then a line for each of
its rows, "results" and "verdicts". Pages name the file with its checksum, so that a page without its figures is noticed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

ROWS = ("results", "verdicts")


def checksum(path: Path) -> str:
    """SHA-256 of the file, the first 16 digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write(path: Path, parts: list[dict[str, Any]]) -> None:
    lines: list[dict[str, Any]] = []
    for part in parts:
        lines.append({"part": {k: v for k, v in part.items() if k not in ROWS}})
        lines += [{kind: row} for kind in ROWS for row in part[kind]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def read(path: Path) -> list[dict[str, Any]]:
    """The parts, as they were written.

    Raises:
        ValueError: a line is not JSON, or is of no kind that ``write`` makes.
    """
    parts: list[dict[str, Any]] = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        [(kind, value)] = json.loads(text).items()
        if kind == "part":
            parts.append({**value, **{rows: [] for rows in ROWS}})
        elif kind in ROWS and parts:
            parts[-1][kind].append(value)
        else:
            raise ValueError(f"{path}:{number}: a line of the kind {kind!r}")
    return parts
