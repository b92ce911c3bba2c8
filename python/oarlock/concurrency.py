"""Blocking calls from coroutines."""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from oarlock._loop import StockLoop
from oarlock._native import native

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_threadpool(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls ``func`` in the worker's thread pool (--pool-threads), in a copy of this context.

    Calls wait for a thread in the order in which they were made, in one line with the requests whose handlers run
    there. They are not refused when --pool-queue is reached; new requests are. A call that is cancelled before its turn
    does not run; one that runs goes on, and its result is thrown away. Outside of a server it is
    :func:`asyncio.to_thread`.

    Args:
        func: what is called; it may block.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Raises:
        RuntimeError: ``func`` raised ``StopIteration``, which no coroutine may raise; or the pool has no thread.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, StockLoop) or not native.has_pool():
        return await asyncio.to_thread(func, *args, **kwargs)
    future: asyncio.Future[T] = loop.create_future()
    run = functools.partial(contextvars.copy_context().run, functools.partial(func, *args, **kwargs))

    def call() -> T | None:  # in the pool: its turn has come, but somebody must still wait for it
        return None if future.cancelled() else run()

    def settle(result: Any, exc: BaseException | None) -> None:
        if future.cancelled():
            return
        if exc is None:
            future.set_result(result)
        elif isinstance(exc, StopIteration):  # a future cannot hold it: it would end the coroutine that waits
            future.set_exception(RuntimeError(f"{func!r} raised StopIteration"))
        else:
            future.set_exception(exc)

    deliver: Callable[..., Any] = functools.partial(loop.call_soon_threadsafe, settle)  # type: ignore[arg-type]
    native.submit(call, deliver)
    return await future
