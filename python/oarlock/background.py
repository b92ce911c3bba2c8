"""Work that is done once the response has left: Starlette's and FastAPI's names."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from oarlock._errors import own_frames
from oarlock._native import native
from oarlock.concurrency import run_in_threadpool


class BackgroundTask:
    """One call, for ``Response(..., background=BackgroundTask(function, ...))``.

    Args:
        func: an ``async def`` runs on the event loop, a ``def`` in the thread pool.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not callable(func):
            call = " (the function itself, without calling it)" if inspect.iscoroutine(func) else ""
            raise TypeError(f"a background task is a function and its arguments{call}, not {func!r:.200}")
        self.func = func
        self.args = args
        self.kwargs = kwargs

    async def __call__(self) -> None:
        """Runs it."""
        if inspect.iscoroutinefunction(self.func):
            await self.func(*self.args, **self.kwargs)
        else:
            await run_in_threadpool(self.func, *self.args, **self.kwargs)

    def _tasks(self) -> Sequence["BackgroundTask"]:
        return [self]


class BackgroundTasks(BackgroundTask):
    """Calls that run one after another. A handler with a parameter of this type gets a new one to fill.

    They run when the handler's response has been sent, in the context of the handler, and not if it raised. A worker
    that stops waits for them (--graceful-timeout). What one raises is logged under its route; the next still runs.
    """

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        self.tasks = list(tasks or [])

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Adds a call of ``func``, an ``async def`` or a ``def``, with its arguments."""
        self.tasks.append(BackgroundTask(func, *args, **kwargs))

    async def __call__(self) -> None:
        """Runs them."""
        for task in self.tasks:
            await task()

    def _tasks(self) -> Sequence[BackgroundTask]:
        return self.tasks


_running: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


async def _run(work: BackgroundTask, route: str) -> None:
    for task in work._tasks():
        try:
            await task()
        except (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt) as exc:
            name = getattr(task.func, "__qualname__", repr(task.func))
            native.log("error", f"{route}: the background task {name} raised {type(exc).__name__}\n{own_frames(exc)}")
            if isinstance(exc, asyncio.CancelledError):
                return


def start(loop: asyncio.AbstractEventLoop, context: Context, here: bool, work: BackgroundTask, route: str) -> None:
    """Called by the bridge, which has counted the work: native.background_done() takes it off again.

    ``here``: on the loop's own thread.
    """

    def done(task: asyncio.Task[None]) -> None:
        _running.discard(task)
        native.background_done()

    # A round later: the response has been written by then. Not by the loop's task factory: an application's may take
    # no context.
    def begin() -> None:
        task = asyncio.Task(_run(work, route), loop=loop, context=context, name=f"oarlock background {route}")
        _running.add(task)
        task.add_done_callback(done)

    if here:
        loop.call_soon(begin)
    else:
        loop.call_soon_threadsafe(begin)
