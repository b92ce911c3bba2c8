"""What the bridge calls: describe the application, load its handlers, start and stop a worker's process."""

import gc
import inspect
import threading
from collections.abc import Awaitable
from typing import Any

from oarlock import _gil, _imports, _life, _manifest
from oarlock._errors import own_frames
from oarlock._life import drive, lifespan_start, thread_drained, thread_run, thread_start, thread_stop
from oarlock._native import native
from oarlock.app import App
from oarlock.exceptions import LoadError
from oarlock.requests import Request

__all__ = [
    "awaited",
    "describe",
    "drive",
    "lifespan_start",
    "load",
    "process_start",
    "process_stop",
    "thread_drained",
    "thread_run",
    "thread_start",
    "thread_stop",
]

LATE = 1.0  # seconds at a worker's end

_app: App


def describe(target: str, factory: bool, settings: dict[str, Any]) -> tuple[str, bool]:
    """The manifest and True, or what went wrong and False."""
    try:
        _gil.watch(settings["gil"])
        app = _manifest.import_app(target, factory)
        _gil.check()
        for line in _imports.warnings(settings["threads"]):
            native.log("warning", line)
        return _manifest.dumps(app), True
    except LoadError as exc:
        return str(exc), False
    except SystemExit as exc:
        return f"importing {target} called sys.exit({exc.code!r})\n{own_frames(exc)}", False
    except BaseException as exc:
        return f"importing {target} failed\n{own_frames(exc)}", False


def load(target: str, factory: bool, settings: dict[str, Any]) -> tuple[str, list[tuple[Any, ...]]]:
    """The manifest again, to be compared, and the handlers in the order of its routes."""
    global _app
    _gil.watch("allow" if settings["gil"] == "warn" else settings["gil"])  # the loader has said it
    _app = _manifest.import_app(target, factory)
    Request.app = _app
    _gil.check()
    _gil.watch(settings["gil"])
    _life.use(_app, settings["loop"] == "stock")
    return _manifest.dumps(_app), _manifest.handlers(_app)


def process_start() -> None:
    """Before the event loops: the application's hooks, which may start threads of their own."""
    for function in _app.worker_start:
        function()
    gc.collect()
    if not _gil.FREE_THREADED:  # docs/decisions/009: there a frozen heap makes collections many times as frequent
        gc.freeze()


def process_stop() -> None:
    """The last of a worker's Python: all of its loops have ended. Behind it the interpreter waits for threads."""
    for function in _app.worker_stop:
        name = f"on_worker_stop: {getattr(function, '__qualname__', function)}"
        over = _name_when_late([f"{name} is not done"])
        try:
            function()
        except BaseException as exc:  # the others have theirs to end, whatever this one does
            native.log("error", f"{name} raised\n{own_frames(exc)}")
        over.set()
    if _threads():
        _name_when_late()


def _threads() -> list[str]:
    threads = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    return [f"the application's thread {t.name!r} runs on, and is no daemon" for t in threads]


def _name_when_late(what: list[str] | None = None) -> threading.Event:
    """Says what keeps the process from its end (threads), at growing intervals until its event is set."""
    over = threading.Event()

    def watch() -> None:
        late = LATE
        while not over.wait(late):
            for line in what or _threads():
                native.log("warning", f"{line}; the worker waits for it, within --graceful-timeout")
            late *= 2

    threading.Thread(target=watch, name="oarlock", daemon=True).start()
    return over


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def awaited(value: Any) -> Any:
    """What an async handler returned that is no coroutine of CPython's own, as one.

    Raises:
        TypeError: it cannot be awaited.
    """
    if not inspect.isawaitable(value):
        raise TypeError(f"an async handler returned {type(value).__name__}, which cannot be awaited")
    return _await(value)
