"""A static pass over an application's modules: state that handlers share and change without a lock.

It reads, it does not run. From the handlers it follows calls by name, within the application's own modules; what they
reach may run in several threads at once. There it looks for shared objects (module-level, class-level, closed over,
default arguments) that are changed in more than one step: read and then written, tested and then changed, changed twice,
changed here and walked over there. One step that CPython does as a whole (``list.append``, one assignment) is no finding.
``with LOCK:`` and ``LOCK.acquire()`` protect. It cannot see aliases, attributes of attributes or what libraries do:
docs/doctor.md has its precision and recall on a corpus.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from oarlock.compare.sources import UNSAFE, Class, Function, Module, Shared, assignments, called, dotted, last

VERBS = {"get", "post", "put", "patch", "delete", "head", "options", "route", "api_route", "websocket"}
PROCESS_WIDE = {
    "os.chdir": "the working folder belongs to the process: other threads look for their files elsewhere meanwhile",
    "os.umask": "the umask belongs to the process",
    "os.putenv": "the environment belongs to the process",
    "random.seed": "the module's generator is one for all threads: another thread draws from this seed, or sets its own",
    "locale.setlocale": "the locale belongs to the process",
    "socket.setdefaulttimeout": "the default belongs to the process",
    "sys.setrecursionlimit": "the limit belongs to the process",
}
MUTATING = {
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update", "setdefault", "popitem", "add",
    "discard", "move_to_end", "appendleft", "popleft", "rotate", "subtract", "write", "writelines", "truncate", "seek",
    "difference_update", "intersection_update", "symmetric_difference_update",
}  # fmt: skip
SEVERAL_STEPS = {"Counter": {"update", "subtract"}}  # methods that are a loop over items
WALKS = {
    "list",
    "sorted",
    "tuple",
    "set",
    "dict",
    "sum",
    "max",
    "min",
    "any",
    "all",
    "enumerate",
    "map",
    "filter",
    "join",
}
# A name with the word "lock" in it, as in lock, _lock2, write_lock, rw_lock, cacheLock; not block, clock or unlocked.
LOCK_NAME = re.compile(r"(?:^|_|(?<=[a-z0-9])(?=[RL]))(?:(?i:r|w|rw|spin)?(?i:lock)s?|(?i:mutex))(?=$|_|[0-9A-Z])")
FIX_LOCK = "hold a threading.Lock around all of it, or keep the state per request (a local variable) or per thread (threading.local)"


@dataclass(frozen=True)
class Finding:
    """What was seen, why it matters, and what to do."""

    file: str
    line: int
    rule: str
    what: str
    why: str
    fix: str

    def text(self) -> str:
        return f"{self.file}:{self.line}: [{self.rule}] {self.what}\n    why: {self.why}\n    fix: {self.fix}"


@dataclass
class _Use:
    """What a function does to one shared object outside of any lock."""

    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)  # one write that is itself several steps: +=, Counter.update
    walks: list[int] = field(default_factory=list)


class _Scan(ast.NodeVisitor):
    """One function that may run in several threads at once."""

    def __init__(self, m: Module, f: Function, owner: Class | None, self_shared: bool) -> None:
        self.m, self.f, self.owner, self.self_shared = m, f, owner, self_shared
        self.uses: dict[str, _Use] = {}
        self.found: list[Finding] = []
        self.protected = 0
        self.declared: set[str] = set()  # global or nonlocal
        self.locals = {a.arg for a in (*f.args.args, *f.args.kwonlyargs, *f.args.posonlyargs)}
        self.defaults: dict[str, Shared] = {}
        self.fresh: set[str] = set()
        arguments = [*f.args.posonlyargs, *f.args.args]
        for a, d in zip(arguments[len(arguments) - len(f.args.defaults) :], f.args.defaults, strict=True):
            shared = m.value(d)
            if shared and shared.kind == "container":
                self.defaults[a.arg] = shared
        for node in ast.walk(f):
            if isinstance(node, ast.Global | ast.Nonlocal):
                self.declared |= set(node.names)
        for node in ast.walk(f):
            for target, _ in assignments(node):
                if isinstance(target, ast.Name) and target.id not in self.declared:
                    self.locals.add(target.id)
            if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                self.locals |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
            if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
                self.locals.add(node.optional_vars.id)
        self.locals -= set(self.defaults)

    # ---- what names a shared object ----

    def shared(self, node: ast.expr) -> str:
        """The text of a shared object that an expression names; "" if it names none."""
        if isinstance(node, ast.Name):
            if node.id in self.defaults:
                return node.id
            if node.id in self.declared or (node.id in self.m.names and node.id not in self.locals):
                return node.id
            return ""
        if not isinstance(node, ast.Attribute):
            return ""
        base = node.value
        if isinstance(base, ast.Name) and base.id not in self.locals and base.id not in self.m.imports:
            if base.id in self.m.thread_locals:
                return ""
            if base.id in self.m.classes:
                c = self.m.classes[base.id]
                return f"{base.id}.{node.attr}" if node.attr in c.shared or node.attr in c.scalars else ""
            if base.id in self.m.functions or (base.id in self.m.names and self.m.names[base.id].kind == "instance"):
                return f"{base.id}.{node.attr}"
        if isinstance(base, ast.Name) and base.id in ("self", "cls") and self.owner:
            if node.attr in self.owner.shared or (base.id == "cls" and node.attr in self.owner.scalars):
                return f"{self.owner.node.name}.{node.attr}"
            if self.self_shared and node.attr not in self.owner.methods and node.attr not in self.owner.locks:
                return f"self.{node.attr}"
        return ""

    def _kind(self, name: str) -> Shared | None:
        if name in self.defaults:
            return self.defaults[name]
        owner, _, attribute = name.partition(".")
        if attribute and owner in self.m.classes:
            return self.m.classes[owner].shared.get(attribute)
        return self.m.names.get(name)

    def use(self, name: str) -> _Use:
        return self.uses.setdefault(name, _Use())

    # ---- locks ----

    def _is_lock(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            return last(dotted(node.func)) == "acquire" and self._is_lock(node.func.value)  # type: ignore[attr-defined]
        name = dotted(node.value if isinstance(node, ast.Subscript) else node)  # one of several: locks[key]
        return (
            name in self.m.locks
            or (self.owner is not None and last(name) in self.owner.locks)
            or (bool(name) and bool(LOCK_NAME.search(last(name))))
        )

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        held = any(self._is_lock(i.context_expr) for i in node.items)
        self.protected += held
        for child in node.body:
            self.visit(child)
        self.protected -= held
        if not held:
            for item in node.items:
                self.visit(item)

    visit_AsyncWith = visit_With

    # ---- reads and writes ----

    def _write(self, target: ast.expr, steps: bool) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for t in target.elts:
                self._write(t, steps)
            return
        inside = target.value if isinstance(target, ast.Subscript) else target
        name = self.shared(inside)
        if isinstance(target, ast.Subscript):
            self.visit(target.slice)
            if self.m.resolve(dotted(target.value)) == "os.environ" and not self.protected:
                self._report(
                    target.lineno, "process-wide", "os.environ is changed",
                    "the environment belongs to the process: other requests see it too", "pass the value as an argument",
                )  # fmt: skip
        elif isinstance(target, ast.Name) and target.id not in self.declared:
            return
        if name and not self.protected:
            use = self.use(name)
            use.writes.append(target.lineno)
            if steps:
                use.steps.append(target.lineno)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._write(target, steps=False)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
            self._write(node.target, steps=False)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self._write(node.target, steps=True)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._write(target, steps=False)

    def visit_Call(self, node: ast.Call) -> None:
        name = self.m.resolve(dotted(node.func))
        if name in PROCESS_WIDE and not self.protected:
            self._report(node.lineno, "process-wide", f"{name}() is called by a handler", PROCESS_WIDE[name],
                         "give the value along, or use an object of the request's own")  # fmt: skip
        if isinstance(node.func, ast.Attribute):
            owner = self.shared(node.func.value)
            if owner and not self.protected:
                kind = self._kind(owner)
                if node.func.attr in MUTATING:
                    several = bool(kind) and node.func.attr in SEVERAL_STEPS.get(kind.made if kind else "", ())
                    self.use(owner).writes.append(node.lineno)
                    if several:
                        self.use(owner).steps.append(node.lineno)
                elif kind is None or kind.kind != "instance":
                    self.use(owner).reads.append(node.lineno)
                    if node.func.attr in ("items", "values", "keys", "copy", "most_common"):
                        self.use(owner).walks.append(node.lineno)
            elif not owner:
                self.visit(node.func)
        if last(name) in WALKS:
            for a in node.args:
                walked = self.shared(a)
                if walked and not self.protected:
                    self.use(walked).walks.append(node.lineno)
        if name == "next" and node.args and not self.protected:
            source = self.shared(node.args[0])
            kind = self._kind(source) if source else None
            if kind and kind.kind == "generator":
                self._report(
                    node.lineno, "shared-generator", f"next({source}) on a generator that all threads share",
                    "two threads at once: ValueError: generator already executing", "make it in the handler, or use itertools.count",
                )  # fmt: skip
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        name = self.shared(node.iter)
        if name and not self.protected:
            self.use(name).walks.append(node.iter.lineno)
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def visit_comprehension(self, node: ast.comprehension) -> None:
        name = self.shared(node.iter)
        if name and not self.protected:
            self.use(name).walks.append(node.iter.lineno)
        self.generic_visit(node)

    def _read(self, node: ast.Name | ast.Attribute) -> None:
        name = self.shared(node)
        if name and isinstance(node.ctx, ast.Load) and not self.protected:
            kind = self._kind(name)
            if kind is None or kind.kind != "instance":
                self.use(name).reads.append(node.lineno)

    def visit_Name(self, node: ast.Name) -> None:
        self._read(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._read(node)
        if not self.shared(node):
            self.visit(node.value)

    def _nested(self, node: ast.AST) -> None:
        """A function inside is scanned by itself."""

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _nested

    def _block(self, statements: list[ast.stmt]) -> None:
        held = 0
        for s in statements:
            self.visit(s)
            taken = any(
                isinstance(c, ast.Call)
                and isinstance(c.func, ast.Attribute)
                and c.func.attr == "acquire"
                and self._is_lock(c.func.value)
                for c in ast.walk(s)
            )
            given = isinstance(s, ast.Expr) and last(called(s.value)) == "release"
            if taken and not given:
                held += 1
                self.protected += 1
            elif given and held:
                held -= 1
                self.protected -= 1
        self.protected -= held

    def _report(self, line: int, rule: str, what: str, why: str, fix: str) -> None:
        self.found.append(Finding(self.m.shown, line, rule, what, why, fix))

    # ---- judgement ----

    def run(self) -> None:
        self._block(self.f.body)
        for name, use in self.uses.items():
            self._judge(name, use)
        changed = [n for n in self.uses if n in self.declared and n in self.m.globals and self.uses[n].writes]
        if len(changed) > 1:
            self._report(
                self.uses[changed[0]].writes[0], "torn-pair", f"{' and '.join(sorted(changed))} are changed one after the other",
                "another thread can see the one new and the other old", "keep them in one tuple and replace that",
            )  # fmt: skip

    def _judge(self, name: str, use: _Use) -> None:
        kind = self._kind(name)
        if kind and kind.kind == "unsafe":
            line = min(use.reads + use.writes, default=self.f.lineno)
            self._report(line, "unsafe-object", f"{name} ({kind.made}) is shared by all threads", UNSAFE[kind.made],
                         "make one for each thread (threading.local), or for each event loop in the App's lifespan")  # fmt: skip
            return
        if not use.writes:
            return
        line = min(use.writes)
        if name in self.defaults:
            self._report(line, "default-argument", f"the default of the parameter '{name}' is one object, and is changed",
                         "all calls in all threads share it", "default to None and make it in the call")  # fmt: skip
        elif use.steps:
            self._report(use.steps[0], "read-modify-write", f"{name} is read, changed and written back",
                         "of two threads that do so at once, one's change is lost", FIX_LOCK)  # fmt: skip
        elif use.reads and not self._only_reads_after_write_of_one_name(name, use):
            self._report(line, "check-then-act", f"{name} is looked at, and then changed",
                         "another thread may change it in between", FIX_LOCK)  # fmt: skip
        elif len(use.writes) > 1:
            self._report(line, "several-steps", f"{name} is changed in {len(use.writes)} steps",
                         "another thread sees it, or changes it, between them", FIX_LOCK)  # fmt: skip
        elif "." in name and (kind is None or kind.kind != "container"):
            self._report(line, "shared-attribute", f"{name} is set by a handler on an object that all requests share",
                         "another request overwrites it before this one has used it", "pass it as an argument, or use a ContextVar")  # fmt: skip

    def _only_reads_after_write_of_one_name(self, name: str, use: _Use) -> bool:
        return name in self.declared and len(use.writes) == 1 and not use.reads


class Analysis:
    """All modules of an application."""

    def __init__(self, files: list[tuple[Path, str]]) -> None:
        self.modules = []
        self.findings: list[Finding] = []
        for path, shown in files:
            try:
                self.modules.append(Module(path, shown))
            except (SyntaxError, UnicodeDecodeError) as exc:
                self.findings.append(
                    Finding(
                        shown, getattr(exc, "lineno", 0) or 0, "unreadable", str(exc), "it was not looked at", "mend it"
                    )
                )

    def _functions(self) -> Iterator[tuple[Module, Function, Class | None]]:
        for m in self.modules:
            owners = {id(f): c for c in m.classes.values() for f in c.methods.values()}
            for node in ast.walk(m.tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield m, node, owners.get(id(node))

    def _reachable(self) -> set[int]:
        """Functions that a handler can reach, by the names that are called."""
        everything = list(self._functions())
        by_name: dict[str, list[Function]] = {}
        for _, f, owner in everything:
            by_name.setdefault(f.name, []).append(f)
            if owner and f.name == "__init__":
                by_name.setdefault(owner.node.name, []).append(f)
        todo = [f for _, f, _ in everything if any(_is_route(d) for d in f.decorator_list)]
        for m in self.modules:
            for node in ast.walk(m.tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and _is_route(node.func):
                    todo += [f for a in node.args for f in by_name.get(last(dotted(a)), [])]
        seen: set[int] = set()
        while todo:
            f = todo.pop()
            if id(f) in seen:
                continue
            seen.add(id(f))
            for node in ast.walk(f):
                if isinstance(node, ast.Call):
                    todo += by_name.get(last(dotted(node.func)), [])
                    if isinstance(node.func, ast.Attribute):
                        todo += by_name.get(node.func.attr, [])
                    for a in node.args:  # handed on: run_in_threadpool(work)
                        todo += by_name.get(last(dotted(a)), [])
        return seen

    def run(self) -> list[Finding]:
        reachable = self._reachable()
        scans = []
        for m, f, owner in self._functions():
            if id(f) not in reachable:
                continue
            shared_self = (
                owner is not None
                and f.name != "__init__"
                and any(
                    s.kind == "instance" and s.made == owner.node.name for x in self.modules for s in x.names.values()
                )
            )
            scan = _Scan(m, f, owner, shared_self)
            scan.run()
            scans.append(scan)
            self.findings += scan.found
        self._walked_elsewhere(scans)
        unique = {(x.file, x.line, x.rule): x for x in self.findings}
        return sorted(unique.values(), key=lambda x: (x.file, x.line))

    def _walked_elsewhere(self, scans: list[_Scan]) -> None:
        for walker in scans:
            for name, use in walker.uses.items():
                if not use.walks or name in walker.defaults:
                    continue
                changers = [x for x in scans if x.m is walker.m and name in x.uses and x.uses[name].writes]
                if changers:
                    at = changers[0].uses[name].writes[0]
                    self.findings.append(
                        Finding(walker.m.shown, use.walks[0], "walk", f"{name} is walked over here and changed at line {at}",
                                "RuntimeError: changed size during iteration, or items that are missed", f"walk over a copy made under a lock; {FIX_LOCK}")
                    )  # fmt: skip


def _is_route(node: ast.expr) -> bool:
    """``@app.get("/")`` and its like, also through a router of any name."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in VERBS
        and bool(node.args)
    )


def check(files: list[tuple[Path, str]]) -> list[Finding]:
    """Findings in these files (path, and the name to show), in their order."""
    return Analysis(files).run()
