"""Streamed bodies over the native exchange: what a client sends, and what a handler gives, piece by piece."""

import asyncio
import functools
from collections.abc import AsyncIterable, Callable
from contextvars import Context
from typing import Any

from oarlock._errors import own_frames
from oarlock._loop import StockLoop
from oarlock.background import BackgroundTask
from oarlock.background import start as start_background
from oarlock.exceptions import ClientDisconnect

# enum oar_waiter in worker/app.h
BODY, ROOM, GONE = 0, 1, 2

_pumps: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


async def _wait(exchange: Any, which: int) -> bool:
    """Waits until the condition may hold. False: it holds already, or somebody else waits for it."""
    future = asyncio.get_running_loop().create_future()
    if not exchange.arm(which, future):
        return False
    try:
        await future
    finally:
        exchange.disarm(which)
    return True


class BodyStream:
    """The body of a request, piece by piece: iterate with ``async for`` in an ``async def`` handler,
    with ``for`` in a ``def`` handler. A piece is as long as what has come; none is empty.

    Raises:
        ClientDisconnect: the client left, or broke a rule or a limit, before its body was complete.
        RuntimeError: another task waits for the next piece of the same body.
    """

    __slots__ = ("_exchange", "_rest")

    def __init__(self, exchange: Any, rest: bytes) -> None:
        self._exchange = exchange
        self._rest = rest

    def _first(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest

    def __aiter__(self) -> "BodyStream":
        return self

    async def __anext__(self) -> bytes:
        if self._exchange is None:
            if piece := self._first():
                return piece
            raise StopAsyncIteration
        if not isinstance(asyncio.get_running_loop(), StockLoop):
            raise RuntimeError("this event loop is not the server's: iterate the stream with a plain `for`")
        while (piece := self._exchange.take()) is None:
            if await _wait(self._exchange, BODY):
                continue
            piece = self._exchange.take()  # it came after the first look; if not, the place is taken
            if piece is None:
                raise RuntimeError("another task is reading this request's body already")
            break
        if not piece:
            raise StopAsyncIteration
        return piece  # type: ignore[no-any-return]

    def __iter__(self) -> "BodyStream":
        return self

    def __next__(self) -> bytes:
        if self._exchange is None:
            if piece := self._first():
                return piece
            raise StopIteration
        if isinstance(asyncio._get_running_loop(), StockLoop):
            raise RuntimeError("a plain `for` would block the event loop: iterate the stream with `async for`")
        piece = self._exchange.take_blocking()
        if not piece:
            raise StopIteration
        return piece  # type: ignore[no-any-return]


async def _pump(exchange: Any, source: AsyncIterable[Any], route: str, then: Callable[[], None] | None) -> None:
    """Gives the items of an async iterator to the client, no faster than the client takes them."""
    ok = False
    log = None
    iterator = aiter(source)
    try:
        if not exchange.arm(GONE, asyncio.current_task()):
            raise ClientDisconnect
        try:
            async for chunk in iterator:
                if exchange.write(chunk):
                    await _wait(exchange, ROOM)
            ok = True
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
    except ClientDisconnect:
        pass
    except BaseException as exc:
        if not (isinstance(exc, asyncio.CancelledError) and exchange.gone):
            ok = False
            log = f"{route}: a streamed response broke off: {own_frames(exc)}"
    finally:
        exchange.disarm(GONE)
        exchange.end(ok, log)
        if then is not None:
            then()


def start(
    exchange: Any,
    source: AsyncIterable[Any],
    loop: asyncio.AbstractEventLoop,
    context: Context,
    route: str,
    here: bool,
    background: BackgroundTask | None,
) -> None:
    """Begins to give the items of ``source``, in the handler's context. ``here``: on the loop's own thread.

    ``background``: what follows the last item; it has been counted.
    """
    then = None if background is None else functools.partial(start_background, loop, context, True, background, route)

    def begin() -> None:  # not by the loop's task factory: an application's may take no context
        task = asyncio.Task(
            _pump(exchange, source, route, then), loop=loop, context=context, name=f"oarlock stream {route}"
        )
        _pumps.add(task)
        task.add_done_callback(_pumps.discard)

    if here:
        begin()
    else:
        loop.call_soon_threadsafe(begin)
