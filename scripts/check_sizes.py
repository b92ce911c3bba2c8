"""Room sizes: files of at most 500 lines, headers 150, functions 80 (over 60 warns); no exit() beyond main;
every .c opens with its purpose, process, ownership and prohibitions."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE, HEADER, FUNCTION, FUNCTION_WARNS = 500, 150, 80, 60
# Headers that are a table or a file format, with the reason.
BIGGER = {"include/oarlock/route.h": 190, "include/oarlock/config.h": 160}


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


def main() -> None:
    errors, warnings = [], []
    files = [ROOT / "main.c"]
    for folder in ("include/oarlock", "shared", "master", "worker", "worker/py", "load", "bench"):
        files += sorted((ROOT / folder).glob("*.[ch]"))
    for file in files:
        path = str(file.relative_to(ROOT))
        text = file.read_text()
        lines = text.count("\n")
        most = BIGGER.get(path, HEADER if path.endswith(".h") else FILE)
        if lines > most:
            errors.append(f"{path}: {lines} lines, at most {most}: redesign the room")
        for name, length in functions(text):
            if length > FUNCTION:
                errors.append(f"{path}: {name} has {length} lines, at most {FUNCTION}")
            elif length > FUNCTION_WARNS:
                warnings.append(f"{path}: {name} has {length} lines, {FUNCTION_WARNS} are better")
        if re.search(r"\bexit\(", re.sub(r"_exit\(|/\*.*?\*/", "", text, flags=re.S)) and path not in (
            "main.c",
            "load/main.c",
            "load/load.c",
        ):
            errors.append(f"{path}: exit() is for main.c")
        if path.endswith(".c") and not re.match(r"/\* SPDX-License-Identifier: \S+\n \* ", text):
            errors.append(f"{path}: does not open with its licence and purpose")
        elif path.endswith(".c") and "Process:" not in text[:1800] and "Constant." not in text[:800]:
            errors.append(f"{path}: its opening comment does not say which process runs it")
    print("\n".join([*(f"warning: {w}" for w in warnings), *errors]) or f"sizes: {len(files)} files fit their rooms")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
