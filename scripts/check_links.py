"""Links and paths in pages and comments: fails where one leads nowhere.

In Markdown: targets of links, with their headings (#anchor), and file names between backticks. In comments of C, and in
comments and docstrings of Python: paths with a folder, names of pages, and decisions/NNN.
A path counts as found when a tracked file has it, or ends with it (`compare/engine.py` is python/oarlock/compare/engine.py).
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENDINGS = "c|h|py|pyi|sh|md|toml|case|html|supp|jsonl"
PATH = re.compile(rf"(?<![\w./~<>$-])((?:[\w.-]+/)+[\w-]+\.(?:{ENDINGS}))(?![\w-])")
PAGE = re.compile(r"(?<![\w./-])([\w-]+\.md)\b")
NAME = re.compile(rf"`([\w-]+\.(?:{ENDINGS}))(?::\d+)?`")
DECISION = re.compile(r"\bdecisions?[/ ](\d{3})\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Written by programs or by users, or of other projects.
ELSEWHERE = re.compile(
    r"^(oarlock-compare/|build/|examples?/app|app\.py$|main\.py$|result\.json|report\.html$|s\.toml$|numbers/)"
    r"|^(Python|cjson/cJSON|cJSON|http_parser|ev|libev|netinet/\w+|sys/\w+|arpa/\w+|linux/\w+)\.h$|^(asyncio|Lib|Modules|Objects|Include)/"
)


def tracked() -> list[str]:
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in sorted(set(listed)) if (ROOT / path).is_file()]


class Tree:
    """The files that a path can mean."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.ends = {"/".join(parts[i:]) for f in files for parts in [f.split("/")] for i in range(len(parts))}

    def has(self, path: str) -> bool:
        return path in self.ends or bool(ELSEWHERE.search(path))

    def decision(self, number: str) -> bool:
        return any(f.startswith(f"docs/decisions/{number}-") for f in self.files)


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def links(path: str, text: str) -> Iterator[tuple[int, str]]:
    for match in LINK.finditer(text):
        target, _, anchor = match[1].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (ROOT / path).parent / target if target else ROOT / path
        line = text.count("\n", 0, match.start()) + 1
        if not file.exists():
            yield line, f"the link {match[1]} leads nowhere"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield line, f"the link {match[1]}: the page has no such heading"


def comments(path: str, text: str) -> Iterator[tuple[int, str]]:
    """First line and text of each comment, in C and in Python, and of each docstring."""
    if not path.endswith(".py"):
        for match in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.S):
            yield text.count("\n", 0, match.start()) + 1, match[0]
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node, clean=False)
            if words:
                yield node.body[0].lineno, words


def lost(tree: Tree, first: int, text: str, names: list[re.Pattern[str]]) -> Iterator[tuple[int, str]]:
    for pattern in names:
        for match in pattern.finditer(text):
            if not tree.has(match[1]):
                yield first + text.count("\n", 0, match.start()), f"there is no {match[1]}"
    for match in DECISION.finditer(text):
        if not tree.decision(match[1]):
            yield first + text.count("\n", 0, match.start()), f"there is no decision {match[1]}"


def problems(tree: Tree, path: str) -> list[str]:
    text = (ROOT / path).read_text()
    found: list[tuple[int, str]] = []
    if path.endswith(".md"):
        bare = LINK.sub("]", text)
        found += links(path, text)
        found += lost(tree, 1, bare, [PATH, NAME])
    else:
        for first, comment in comments(path, text):
            found += lost(tree, first, comment, [PATH, PAGE])
    return [f"{path}:{line}: {what}" for line, what in sorted(set(found))]


def main() -> None:
    tree = Tree(tracked())
    files = [f for f in tree.files if re.search(r"\.(md|c|h|py)$", f) and not f.startswith("tests/doctor/corpus/")]
    found = [p for f in files for p in problems(tree, f)]
    print("\n".join(found) or f"links: those of {len(files)} files lead somewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
