"""What an application made at import that belongs to one event loop, while several will serve."""

import asyncio
import gc
import sys
from typing import Any

_PRIMITIVES = (
    asyncio.Lock,
    asyncio.Event,
    asyncio.Condition,
    asyncio.Semaphore,
    asyncio.Queue,
    asyncio.Barrier,
    asyncio.Future,
)
# Clients whose connections live on the loop that first used them: (package, class).
_CLIENTS = {
    ("httpx", "AsyncClient"),
    ("aiohttp", "ClientSession"),
    ("asyncpg", "Pool"),
    ("redis", "Redis"),
    ("redis", "ConnectionPool"),
    ("motor", "AsyncIOMotorClient"),
    ("elasticsearch", "AsyncElasticsearch"),
}


def _is_bound(value: Any) -> bool:
    kind = type(value)  # not isinstance: that asks a proxy of some framework for what it stands for
    if issubclass(kind, _PRIMITIVES):
        return True
    module = _module(kind)
    package = module.partition(".")[0]
    if (package, kind.__name__) not in _CLIENTS:
        return False
    return package != "redis" or "asyncio" in module


def _module(kind: type) -> str:
    """A class of an extension may have a descriptor of its instances in this place."""
    name = kind.__module__
    return name if isinstance(name, str) else ""


def _named() -> list[tuple[str, Any]]:
    """Values of all modules' variables, and of the plain containers in them."""
    found = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("asyncio", "oarlock", "_oarlock", "concurrent"):
            continue
        for variable, value in list(getattr(module, "__dict__", {}).items()):
            found.append((f"{name}.{variable}", value))
            if type(value) in (dict, list, tuple, set):
                inner = value.values() if isinstance(value, dict) else value
                found += [(f"{name}.{variable}[...]", item) for item in list(inner)[:1000]]
    return found


def warnings(threads: int) -> list[str]:
    """One line for each object, for the log; none for one thread, whose only loop they belong to."""
    if threads < 2:
        return []
    lines: dict[int, str] = {}
    for name, value in _named():
        if _is_bound(value):
            kind = type(value)
            lines.setdefault(
                id(value),
                f"{name}: this {_module(kind).partition('.')[0]} {kind.__name__} was made at import and belongs to the "
                f"first event loop that uses it, but {threads} event loops will serve; make it in the App's lifespan and "
                "take it from request.state",
            )
    unnamed = sum(_is_bound(o) for o in gc.get_objects()) - len(lines)
    found = list(lines.values())
    if unnamed > 0:
        found.append(
            f"{unnamed} more asyncio objects or clients were made at import and belong to one event loop, but {threads} "
            "will serve; make them in the App's lifespan"
        )
    return found
