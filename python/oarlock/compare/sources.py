"""What a module's source holds that threads could share: for ``rules``. It reads, it does not run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"}
CONTAINERS = {
    "list",
    "dict",
    "set",
    "bytearray",
    "defaultdict",
    "OrderedDict",
    "Counter",
    "deque",
    "StringIO",
    "BytesIO",
    "array",
}
# Objects whose every use by two threads is a mistake, and why.
UNSAFE = {
    "sqlite3.connect": "a sqlite3 connection belongs to one thread, and transactions of two threads on it mix",
    "open": "writes of two threads to one file object mix, and on the free-threaded build may fail",
    "csv.writer": "writes of two threads mix",
    "StringIO": "",
}


def dotted(node: ast.expr) -> str:
    """ "a.b.c" for a chain of names; "" otherwise."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
        return ".".join(reversed(parts))
    return ""


def called(node: ast.expr) -> str:
    return dotted(node.func) if isinstance(node, ast.Call) else ""


def last(name: str) -> str:
    return name.rpartition(".")[2]


type Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_generator(f: Function) -> bool:
    todo: list[ast.AST] = list(f.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)
    return False


@dataclass
class Shared:
    """An object that threads share, by the text that names it in a function."""

    kind: str  # container, unsafe, generator, instance
    made: str  # the class or call that made it


@dataclass
class Class:
    node: ast.ClassDef
    shared: dict[str, Shared] = field(default_factory=dict)  # mutable class attributes
    scalars: set[str] = field(default_factory=set)  # other class attributes
    locks: set[str] = field(default_factory=set)  # attributes that hold a lock
    methods: dict[str, Function] = field(default_factory=dict)


class Module:
    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self.tree = ast.parse(path.read_text(), str(path))
        self.names: dict[str, Shared] = {}
        self.locks: set[str] = set()
        self.globals: set[str] = set()  # names of any value
        self.classes: dict[str, Class] = {}
        self.functions: dict[str, Function] = {}
        self.imports: dict[str, str] = {}
        self.thread_locals: set[str] = set()
        self._collect()

    def _collect(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for a in node.names:
                    self.imports[a.asname or a.name] = a.name
            elif isinstance(node, ast.ImportFrom) and node.module:
                for a in node.names:
                    self.imports[a.asname or a.name] = f"{node.module}.{a.name}"
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.setdefault(node.name, node)
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = self._class(node)
        for node in self._top():
            for target, value in assignments(node):
                if isinstance(target, ast.Name):
                    self.globals.add(target.id)
                    self._note(target.id, value)

    def _top(self) -> Iterator[ast.stmt]:
        """Module-level statements, also inside of if, try and with."""
        todo = list(self.tree.body)
        while todo:
            node = todo.pop(0)
            yield node
            for name in ("body", "orelse", "finalbody"):
                if isinstance(node, ast.If | ast.Try | ast.With):
                    todo += getattr(node, name, [])

    def resolve(self, name: str) -> str:
        """A dotted name with its import undone: ``np.x`` is ``numpy.x``."""
        first, dot, rest = name.partition(".")
        return self.imports.get(first, first) + dot + rest

    def value(self, value: ast.expr | None) -> Shared | None:
        """What kind of shared object an expression makes, if any."""
        if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return Shared("container", type(value).__name__.lower().removesuffix("comp"))
        if isinstance(value, ast.GeneratorExp):
            return Shared("generator", "generator expression")
        name = self.resolve(called(value)) if value is not None else ""
        if not name:
            return None
        if UNSAFE.get(name):
            return Shared("unsafe", name)
        if last(name) in CONTAINERS:
            return Shared("container", last(name))
        if name in self.functions and is_generator(self.functions[name]):
            return Shared("generator", name)
        if name in self.classes:
            return Shared("instance", name)
        return None

    def _note(self, name: str, value: ast.expr | None) -> None:
        made = last(self.resolve(called(value))) if value is not None else ""
        if made in LOCKS:
            self.locks.add(name)
        elif made == "local":
            self.thread_locals.add(name)
        else:
            shared = self.value(value)
            if shared:
                self.names[name] = shared

    def _class(self, node: ast.ClassDef) -> Class:
        found = Class(node)
        for statement in node.body:
            for target, value in assignments(statement):
                if isinstance(target, ast.Name):
                    made = last(self.resolve(called(value))) if value is not None else ""
                    shared = self.value(value)
                    if made in LOCKS:
                        found.locks.add(target.id)
                    elif shared:
                        found.shared[target.id] = shared
                    elif value is not None and not isinstance(value, ast.Call):
                        found.scalars.add(target.id)
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                found.methods[statement.name] = statement
                for inner in ast.walk(statement):
                    if isinstance(inner, ast.Assign) and last(self.resolve(called(inner.value))) in LOCKS:
                        found.locks |= {last(dotted(t)) for t in inner.targets if dotted(t).startswith("self.")}
        return found


def assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                yield from ((t, None) for t in target.elts)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign):
        yield node.target, node.value
