"""The asyncio loop of an event-loop thread: the standard selector loop over oarlock's poller."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


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
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
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
        return self._keys


class Loop(asyncio.SelectorEventLoop):
    """One for each event-loop thread."""

    def __init__(self, poller: Any) -> None:
        super().__init__(PollerSelector(poller))
