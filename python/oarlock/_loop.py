"""The asyncio loops of oarlock: the standard selector loop over our poller, and the same with its hot half in C."""

import asyncio
import selectors
from asyncio import base_events
from asyncio.format_helpers import _format_callback_source
from collections.abc import Iterator, Mapping
from typing import Any

from oarlock._native import native


class PollerSelector(selectors.BaseSelector):
    """asyncio's view of the thread's libev loop. ``select()`` is where HTTP is served."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._keys: dict[int, selectors.SelectorKey] = {}
        self.select = poller.select  # type: ignore[method-assign]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Replaced in __init__ by the native method; stands here because the base class asks for it."""
        return self._poller.select(timeout)  # type: ignore[no-any-return]

    @staticmethod
    def _fileno(fileobj: Any) -> int:
        try:
            fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"not a file object or descriptor: {fileobj!r}") from None
        if fd < 0:
            raise ValueError(f"invalid file descriptor: {fd}")
        return fd

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"invalid events: {events!r}")
        fd = self._fileno(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._poller.watch(fd, events, key)
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        fd = self._find(fileobj)
        key = self._keys.pop(fd)
        self._poller.unwatch(fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = self._find(fileobj)
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._poller.watch(fd, events, key)
        self._keys[fd] = key
        return key

    def _find(self, fileobj: Any) -> int:
        """The descriptor, also of an object that was closed before it was unregistered."""
        try:
            fd = self._fileno(fileobj)
        except ValueError:
            for known, key in self._keys.items():
                if key.fileobj is fileobj:
                    return known
            raise
        if fd not in self._keys:
            raise KeyError(f"{fileobj!r} is not registered")
        return fd

    def close(self) -> None:
        for fd in list(self._keys):
            self._poller.unwatch(fd)
        self._keys.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return _Keys(self)


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """What is registered, by file object or descriptor."""

    def __init__(self, selector: PollerSelector) -> None:
        self._selector = selector

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        try:
            return self._selector._keys[self._selector._find(fileobj)]
        except ValueError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._selector._keys)

    def __len__(self) -> int:
        return len(self._selector._keys)


class StockLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop over oarlock's poller: ``--loop stock``, and where CPython is newer than this build."""

    def __init__(self, poller: Any = None) -> None:
        super().__init__(PollerSelector(poller or native.Poller()))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """As asyncio's, but for NaN: it is neither early nor late, so the timers would lose their order."""
        if when is not None and when != when:
            raise ValueError("call_at(): the time is NaN (not a number)")
        return super().call_at(when, callback, *args, context=context)


class Loop(native.LoopCore, StockLoop):  # type: ignore[misc,name-defined]
    """The same with ready queue, handles and timers in C."""

    _base_loop = asyncio.SelectorEventLoop  # asyncio's own methods, for debug mode

    def __init__(self, poller: Any = None) -> None:
        poller = poller or native.Poller()
        self._bind(poller)
        super().__init__(poller)
        self._poll = poller.select
        self._selector.select = self._select  # only others call it: the native _run_once asks the poller itself

    def _select(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """For somebody else's _run_once (nest_asyncio's): what is ready natively is handed over to ``_ready``."""
        if type(self)._run_once is native.LoopCore._run_once:
            return self._poll(timeout)  # type: ignore[no-any-return]
        own = self._native_timeout()
        if own is not None:
            timeout = own if timeout is None else min(own, timeout)
        events = self._poll(timeout)
        self._hand_over()
        return events  # type: ignore[no-any-return]

    def _run_slowly(self, handle: Any) -> None:
        """One callback in debug mode, as BaseEventLoop._run_once runs it."""
        started = self.time()
        self._current_handle = handle
        try:
            handle._run()
        finally:
            self._current_handle = None
            if (took := self.time() - started) >= self.slow_callback_duration:
                text = base_events._format_handle(handle)  # type: ignore[attr-defined]
                base_events.logger.warning("Executing %s took %.3f seconds", text, took)  # type: ignore[attr-defined]
            handle = None  # a traceback that the callback keeps would keep this frame, and so the handle

    def _first_step_took(self, route: str, seconds: float) -> None:
        """In debug mode: the first step of a handler, which is no callback of the loop."""
        if seconds >= self.slow_callback_duration:
            text = f"Executing the first step of {route} took {seconds:.3f} seconds"
            base_events.logger.warning(text)  # type: ignore[attr-defined]

    def _callback_failed(self, handle: Any, exc: BaseException) -> None:
        """A native handle's callback raised: what events.Handle._run does."""
        source = _format_callback_source(handle._callback, handle._args or ())
        self.call_exception_handler({"message": f"Exception in callback {source}", "exception": exc, "handle": handle})

    def _describe_handle(self, handle: Any) -> str:
        """repr() of a native handle."""
        info = ["TimerHandle" if isinstance(handle, native.TimerHandle) else "Handle"]
        if handle._cancelled:
            info.append("cancelled")
        if isinstance(handle, native.TimerHandle):
            info.append(f"when={handle._when}")
        if handle._callback is not None:
            info.append(_format_callback_source(handle._callback, handle._args or ()))
        return f"<{' '.join(info)}>"
