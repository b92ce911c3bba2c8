"""The Python half of worker/py/py_hooks.c: what is not in CPython's documentation. That file says on which versions."""

import asyncio
import weakref
from collections.abc import Iterator
from typing import Any

from oarlock._native import native


def shard_tasks() -> None:
    """Called by py_hooks.c: asyncio's weak set of tasks becomes one in C, with a part for each event loop.

    The object stays the same, because asyncio's own C code holds it; it calls ``add`` and ``discard``, and
    ``asyncio.all_tasks`` iterates.
    """

    class Tasks(weakref.WeakSet):  # type: ignore[type-arg]
        add = native.task_add
        discard = native.task_discard

        def __iter__(self) -> Iterator[Any]:
            return iter(native.task_list())

        def __len__(self) -> int:
            return len(native.task_list())

        def __contains__(self, task: object) -> bool:
            return any(task is known for known in native.task_list())

    known = asyncio.tasks._scheduled_tasks  # type: ignore[attr-defined]
    for task in list(known):
        native.task_add(task)
    known.__class__ = Tasks
