"""The life of one event-loop thread: its loop, its lifespan, the task that serves, and the end of all of them."""

import asyncio
import sys
import threading
import time
import traceback
from asyncio import events
from asyncio.constants import DEBUG_STACK_DEPTH
from collections.abc import Awaitable, Iterable
from contextvars import Context
from typing import Any

from oarlock._errors import own_frames
from oarlock._loop import Loop, StockLoop
from oarlock._native import native
from oarlock.app import App

_app: App
_stock = False
_drained: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}
_lifespans: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[None], asyncio.Future[None]]] = {}

LEAST = 1.0  # seconds for the end of a loop whose drain has used --graceful-timeout up; the master may cut it


def use(app: App, stock: bool) -> None:
    """The application whose lifespan runs, and whether its loops are asyncio's own (--loop stock)."""
    global _app, _stock
    _app, _stock = app, stock


def thread_start(poller: Any, index: int) -> asyncio.AbstractEventLoop:
    """Makes the loop of an event-loop thread."""
    if index:
        threading.current_thread().name = f"oarlock-{index}"
    loop = StockLoop(poller) if _stock else Loop(poller)
    # A `def` on this thread finds what it finds in the pool: no loop, unless it makes one of its own.
    asyncio.set_event_loop(None)
    _drained[loop] = loop.create_future()
    return loop


# ---- the lifespan -----------------------------------------------------------------------------------


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
    task = asyncio.Task(_live(started, ended), loop=loop, context=context, name="oarlock lifespan")
    either: list[asyncio.Future[Any]] = [task, started]
    loop.run_until_complete(asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED))
    if not started.done():
        task.result()  # raises what the lifespan raised
        raise RuntimeError("the lifespan ended without a yield")
    _lifespans[loop] = task, ended
    return started.result()


def _cause(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "it was cancelled\n"
    exc = task.exception()
    return own_frames(exc) if exc else "it returned\n"


async def _end_lifespan(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """The code behind the lifespan's ``yield``, with all tasks still alive; cancelled when the time is over."""
    if loop not in _lifespans:
        return
    task, ended = _lifespans.pop(loop)
    if task.done():  # while it served: that has been logged
        return
    if not ended.done():
        ended.set_result(None)
    if not (await asyncio.wait([task], timeout=seconds))[0]:
        native.log("error", f"the lifespan did not end within {seconds:.1f} s; it is cancelled (--graceful-timeout)")
        return
    if task.cancelled() or task.exception():
        native.log("error", f"the lifespan raised at its end: {_cause(task)}")


# ---- serving ----------------------------------------------------------------------------------------


def thread_drained(loop: asyncio.AbstractEventLoop) -> None:
    """Called by the poller, once: nothing is left to serve, or --graceful-timeout is over."""
    _drained[loop].set_result(None)


async def _whatever_is_cancelled(waiting: Iterable[asyncio.Future[Any]]) -> None:
    """Until one of them is done. An application may cancel all tasks that it finds, and this is one of them."""
    while True:
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            native.log("error", "the application cancelled the task that serves this event loop; it goes on")
        else:
            return


async def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The loop's root task, of which run_until_complete knows: anyio and others look for one."""
    drained = _drained[loop]
    lifespan = _lifespans[loop][0] if loop in _lifespans else None
    await _whatever_is_cancelled([drained, lifespan] if lifespan else [drained])
    if lifespan and lifespan.done() and not drained.done():
        native.log(
            "error",
            "the lifespan ended while its event loop serves; the worker drains and is replaced. "
            f"The lifespan's cause: {_cause(lifespan)}",
        )
        native.retire()
        await _whatever_is_cancelled([drained])
    await _end(loop)


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    """The lifespan first; then what is left is cancelled. All within what --graceful-timeout has left."""
    end = loop.time() + max(native.grace(), LEAST)
    await _end_lifespan(loop, (end - loop.time()) * 0.75)
    pending = asyncio.all_tasks(loop)
    pending.discard(asyncio.current_task())  # type: ignore[arg-type]
    for task in pending:
        task.cancel()
    if pending:
        left = (await asyncio.wait(pending, timeout=(end - loop.time()) * 0.75))[1]
        for task in left:
            native.log("error", f"a task did not end when it was cancelled (--graceful-timeout): {task!r}")
    await _within(end - loop.time(), loop.shutdown_asyncgens(), "asynchronous generators")
    await _within(end - loop.time(), loop.shutdown_default_executor(), "calls of asyncio.to_thread")


async def _within(seconds: float, ending: Awaitable[None], what: str) -> None:
    try:
        await asyncio.wait_for(ending, max(seconds, 0.05))
    except TimeoutError:
        native.log("error", f"{what} did not end (--graceful-timeout)")
    except Exception as exc:
        native.log("error", f"{what} raised at the end: {own_frames(exc)}")


def thread_run(loop: asyncio.AbstractEventLoop) -> None:
    """Serves until the worker has drained, then ends what runs on the loop.

    Nothing else ends a loop: not its stop(), not a callback's SystemExit, not what a signal handler raises.
    """
    root = asyncio.Task(_serve(loop), loop=loop, name="oarlock")
    while not root.done():
        try:
            loop.run_until_complete(root)
        except BaseException as exc:
            if root.done():
                break
            if isinstance(exc, RuntimeError) and not loop.is_closed() and not exc.__cause__ and "stopped" in str(exc):
                native.log("error", "the application stopped the event loop (loop.stop()); it goes on")
            else:
                native.log(
                    "error", f"the event loop was left by an exception; the loop goes on\n{traceback.format_exc()}"
                )
    root.result()


def drive(loop: asyncio.AbstractEventLoop) -> bool:
    """Drives a loop whose own thread stays in a handler, on a spare thread. True: the loop was taken over again.

    Does what BaseEventLoop.run_forever does for its thread, but never ends because of loop.stop(): that is for the
    loop's own thread to see, which has the loop back when this returns False.
    """
    hooks = sys.get_asyncgen_hooks()
    any_loop: Any = loop  # what follows is private to asyncio, as in run_forever
    any_loop._thread_id = threading.get_ident()
    sys.set_asyncgen_hooks(firstiter=any_loop._asyncgen_firstiter_hook, finalizer=any_loop._asyncgen_finalizer_hook)
    if loop.get_debug():
        sys.set_coroutine_origin_tracking_depth(DEBUG_STACK_DEPTH)
    events._set_running_loop(loop)
    try:
        while not native.home_waits():
            try:
                any_loop._run_once()
                if any_loop._stopping:  # rounds do not wait then; what may end the loop is its own thread alone
                    time.sleep(0.001)
            except native.TakenOver:
                return True
            except BaseException:
                native.log("error", f"a callback on the event loop raised; the loop goes on\n{traceback.format_exc()}")
        return False
    finally:
        events._set_running_loop(None)
        sys.set_asyncgen_hooks(*hooks)


def thread_stop(loop: asyncio.AbstractEventLoop) -> None:
    """Closes the loop."""
    _drained.pop(loop, None)
    _lifespans.pop(loop, None)
    asyncio.set_event_loop(None)
    loop.close()
