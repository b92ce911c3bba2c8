"""What the free-threaded build makes immortal, and what it leaves alone (docs/decisions/008)."""

import pytest
from conftest import KINDS

pytestmark = pytest.mark.skipif("ft" not in KINDS, reason="no free-threaded build here")

APP = """
import functools, gc, sys, threading, weakref
from oarlock import App
app = App()
asked, alive = [], threading.Event()

class Foreign:
    def __init__(self, name):
        self.name = name
    def __getattr__(self, name):
        asked.append(name)
        raise AttributeError(name)
    def bound(self):
        return self.name

class Text(str):
    pass

def make():
    inside = Foreign("cell")
    constant = tuple(["a constant of the closure"])
    def closure(which: str = Text("a default")):
        nonlocal inside
        if which == "replace":
            ref = weakref.ref(inside)
            inside = None
            gc.collect()
            return ref() is None
        return constant
    app.get("/closure", blocking=False)(closure)
    return closure

closure = make()
owner = Foreign("self")
app.get("/bound", blocking=False)(owner.bound)

@app.get("/immortal", blocking=False)
def immortal():
    cells = {name: c.cell_contents for name, c in zip(closure.__code__.co_freevars, closure.__closure__)}
    found = {
        "function": closure, "code": closure.__code__, "cell": closure.__closure__[0],
        "constant": cells["constant"], "foreign": cells["inside"], "self": owner, "default": closure.__defaults__[0],
    }
    return {name: sys.getrefcount(o) > 1 << 28 for name, o in found.items()} | {"asked": asked}

@app.on_worker_start
def start():
    threading.Thread(target=alive.wait, daemon=True).start()
"""


def test_exact_types_only(serve, tmp_path):
    (tmp_path / "shared.py").write_text(APP)
    server = serve("shared:app", "--app-dir", str(tmp_path), "--python", "ft", "--workers", "1", "--threads", "2")
    seen = server.get("/immortal").json()
    assert seen.pop("asked") == []
    assert {name for name, immortal in seen.items() if immortal} == {"function", "code", "cell", "constant"}
    assert server.get("/closure", params={"which": "replace"}).json() is True
    assert server.get("/bound").json() == "self"
    assert "starts a thread" not in server.log  # on_worker_start comes afterwards


def test_nothing_when_the_import_has_started_a_thread(serve, tmp_path):
    (tmp_path / "shared.py").write_text(APP + "\nstart()\n")
    server = serve("shared:app", "--app-dir", str(tmp_path), "--python", "ft", "--workers", "1", "--threads", "2")
    assert server.get("/immortal").json()["constant"] is False
    assert "the application starts a thread while it is imported" in server.log
