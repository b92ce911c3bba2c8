"""What the bridge calls: describe the application, load its handlers, run an event loop."""

import asyncio
import contextlib
import gc
import inspect
import threading
import traceback
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

from oarlock import _gil, _imports, _manifest
from oarlock._errors import own_frames
from oarlock._loop import Loop, StockLoop
from oarlock._native import native
from oarlock.app import App
from oarlock.exceptions import LoadError
from oarlock.requests import Request

_app: App
_stock = False
_lifespans: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[None], asyncio.Future[None]]] = {}


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
    global _app, _stock
    _stock = settings["loop"] == "stock"
    _gil.watch("allow" if settings["gil"] == "warn" else settings["gil"])  # the loader has said it
    _app = _manifest.import_app(target, factory)
    Request.app = _app
    _gil.check()
    _gil.watch(settings["gil"])
    manifest, handlers = _manifest.dumps(_app), _manifest.handlers(_app)
    for function in _app.worker_start:
        function()
    gc.collect()
    if not _gil.FREE_THREADED:  # docs/decisions/009: there a frozen heap makes collections many times as frequent
        gc.freeze()
    return manifest, handlers


def process_stop() -> None:
    """The last of a worker's Python: all of its loops have ended."""
    for function in _app.worker_stop:
        try:
            function()
        except Exception:
            native.log("error", f"on_worker_stop: {function!r} raised\n{traceback.format_exc()}")


# ---- one event-loop thread ----------------------------------------------------------------------


def thread_start(poller: Any, index: int) -> asyncio.AbstractEventLoop:
    """Makes the loop of an event-loop thread."""
    if index:
        threading.current_thread().name = f"oarlock-{index}"
    loop = StockLoop(poller) if _stock else Loop(poller)
    # A `def` on this thread finds what it finds in the pool: no loop, unless it makes one of its own.
    asyncio.set_event_loop(None)
    return loop


async def _live(started: asyncio.Future[dict[str, Any]], ended: asyncio.Future[None]) -> None:
    """The lifespan from its beginning to its end, in one task: what it opens may belong to the task."""
    assert _app.lifespan is not None
    async with _app.lifespan(_app) as state:
        started.set_result(dict(state or {}))
        await ended


def lifespan_start(loop: asyncio.AbstractEventLoop, context: Context) -> dict[str, Any]:
    """Runs the lifespan up to its ``yield``, in the context that handlers will copy. What it yielded."""
    if _app.lifespan is None:
        return {}
    started: asyncio.Future[dict[str, Any]] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(_live(started, ended), context=context, name="oarlock lifespan")
    either: list[asyncio.Future[Any]] = [task, started]
    loop.run_until_complete(asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED))
    if not started.done():
        task.result()  # raises what the lifespan raised
        raise RuntimeError("the lifespan ended without a yield")
    _lifespans[loop] = task, ended
    return started.result()


def _lifespan_end(loop: asyncio.AbstractEventLoop) -> None:
    task, ended = _lifespans.pop(loop)
    if not ended.done():
        ended.set_result(None)
    try:
        loop.run_until_complete(task)
    except Exception as exc:
        native.log("error", f"the lifespan raised at its end\n{own_frames(exc)}")


def thread_run(loop: asyncio.AbstractEventLoop) -> None:
    """Runs until the poller stops the loop. A handler's SystemExit does not end it."""
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            native.log("error", f"a callback on the event loop raised; the loop goes on\n{traceback.format_exc()}")
        else:
            return


def thread_stop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancels what is left, ends the lifespan and closes the loop."""
    pending = asyncio.all_tasks(loop)
    if loop in _lifespans:
        pending.discard(_lifespans[loop][0])
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.wait(pending, timeout=1))
    if loop in _lifespans:
        _lifespan_end(loop)
    with contextlib.suppress(Exception):  # generators that will not end, threads of the executor that do not
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), 1))
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_default_executor(), 1))
    asyncio.set_event_loop(None)
    loop.close()


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
