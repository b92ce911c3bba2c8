"""Room sizes: files of at most 500 lines, headers 150, functions 80 (over 60 warns), in C and in Python; no exit() beyond
main; every .c opens with its purpose, process, ownership and prohibitions.

usage: check_sizes.py     with the interpreter that the Python files are written for (3.13): `make lint` does
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE, HEADER, FUNCTION, FUNCTION_WARNS = 500, 150, 80, 60
# Headers that are a table or a file format, with the reason.
BIGGER = {"include/oarlock/route.h": 190, "include/oarlock/config.h": 160}
# Python functions that are a table, with the number of lines that they may have.
LONGER = {"tests/e2e/test_answers.py: _requests": 140}


def functions(text: str) -> list[tuple[str, int]]:
    """Name and length of each function: from a line at column 0 that opens a body to its closing brace."""
    found, start, name = [], None, ""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line == "{" and start is None and i > 0:
            start = i
            head = next((h for h in reversed(lines[max(0, i - 6) : i]) if re.match(r"\w", h)), "?")
            match = re.search(r"(\w+)\(", head)
            name = match.group(1) if match else head
        elif line.startswith("}") and start is not None:
            found.append((name, i - start + 1))
            start = None
    return found


def python_functions(text: str) -> list[tuple[str, int]]:
    """Name and length of each function, without its decorators."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in nodes]


class Report:
    """What is too large."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def file(self, path: str, text: str, most: int) -> None:
        lines = text.count("\n")
        if lines > most:
            self.errors.append(f"{path}: {lines} lines, at most {most}: redesign the room")

    def functions(self, path: str, found: list[tuple[str, int]]) -> None:
        for name, length in found:
            most = LONGER.get(f"{path}: {name}", FUNCTION)
            if length > most:
                self.errors.append(f"{path}: {name} has {length} lines, at most {most}")
            elif length > FUNCTION_WARNS and most == FUNCTION:
                self.warnings.append(f"{path}: {name} has {length} lines, {FUNCTION_WARNS} are better")


def check_c(report: Report) -> int:
    files = [ROOT / "main.c"]
    for folder in ("include/oarlock", "shared", "master", "worker", "worker/py", "load", "bench"):
        files += sorted((ROOT / folder).glob("*.[ch]"))
    for file in files:
        path = str(file.relative_to(ROOT))
        text = file.read_text()
        report.file(path, text, BIGGER.get(path, HEADER if path.endswith(".h") else FILE))
        report.functions(path, functions(text))
        if re.search(r"\bexit\(", re.sub(r"_exit\(|/\*.*?\*/", "", text, flags=re.S)) and path not in (
            "main.c",
            "load/main.c",
            "load/load.c",
        ):
            report.errors.append(f"{path}: exit() is for main.c")
        if path.endswith(".c") and not re.match(r"/\* SPDX-License-Identifier: \S+\n \* ", text):
            report.errors.append(f"{path}: does not open with its licence and purpose")
        elif path.endswith(".c") and "Process:" not in text[:1800] and "Constant." not in text[:800]:
            report.errors.append(f"{path}: its opening comment does not say which process runs it")
    return len(files)


def check_python(report: Report) -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [path for path in sorted(set(listed.stdout.splitlines())) if (ROOT / path).exists()]
    for path in files:
        text = (ROOT / path).read_text()
        report.file(path, text, FILE)
        report.functions(path, python_functions(text))
    return len(files)


def main() -> None:
    report = Report()
    c, python = check_c(report), check_python(report)
    warnings = [f"warning: {w}" for w in report.warnings]
    print("\n".join([*warnings, *report.errors]) or f"sizes: {c} files of C and {python} of Python fit their rooms")
    sys.exit(bool(report.errors))


if __name__ == "__main__":
    main()
