"""What stands beside a parameter's type: our Query and Path, and what other libraries put there.

A marker that is not understood is refused when the application is loaded. Ignored, ``Annotated[User, Depends(login)]``
would be a query parameter that any client fills, and ``Field(ge=1)`` a check that nobody makes.
"""

import datetime
import inspect
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from oarlock.params import Path, Query

# What only describes: ``Annotated[int, "text"]`` and PEP 727's Doc, by its name, wherever it is imported from.
_DOCUMENTATION = "Doc"

_BODY = "take a parameter `request: Request` and read the body with `await request.json()` or `await request.body()`"
_CHECK = "check the value in the handler and raise HTTPException(422, ...)"
_DEPENDS = "call the function in the handler, and let the handler take a parameter `request: Request` for what it needs"
_ADVICE = {
    "Depends": _DEPENDS,
    "Security": _DEPENDS,
    "Header": "take a parameter `request: Request` and read request.headers",
    "Cookie": "take a parameter `request: Request` and read request.cookies",
    "Body": _BODY,
    "Form": _BODY,
    "File": _BODY,
    "Query": "import Query from oarlock, and write it with parentheses",
    "Path": "import Path from oarlock, and write it with parentheses",
}
# A default is handed to the handler as it is. These are values; object() and members of an Enum serve as sentinels.
_VALUES: tuple[type, ...] = (str, bytes, int, float, complex, tuple, frozenset, Decimal, UUID, Enum)
_VALUES += (datetime.date, datetime.time, datetime.timedelta)


def _name(thing: Any) -> str:
    kind = thing if isinstance(thing, type) or inspect.isroutine(thing) else type(thing)
    return str(getattr(kind, "__name__", kind))


def _described(thing: Any) -> str:
    module = str(getattr(thing if isinstance(thing, type) else type(thing), "__module__", ""))
    package = module.partition(".")[0]
    shown = _name(thing) if isinstance(thing, type) else repr(thing)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"{shown} of {package}" if package not in ("", "builtins", "__main__") else shown


def find(extras: Sequence[Any]) -> tuple[Query | Path | None, str | None]:
    """Our marker among the metadata of an ``Annotated``, and why the parameter is refused (None: it is not)."""
    ours = [e for e in extras if isinstance(e, Query | Path)]
    if len(ours) > 1:
        return None, f"has {len(ours)} markers, {ours[0]!r} and {ours[1]!r}; leave one of them"
    for extra in extras:
        if extra in ours or isinstance(extra, str) or _name(extra) == _DOCUMENTATION:
            continue
        advice = _ADVICE.get(_name(extra), _CHECK)
        return None, f"is marked with {_described(extra)}, which oarlock does not apply; {advice}"
    return (ours[0] if ours else None), None


def refused_default(default: Any) -> str | None:
    """Why an object is no default for a parameter; None: it is one."""
    if default is None or default is inspect.Parameter.empty or default is ...:
        return None
    if isinstance(default, _VALUES) or type(default) is object:
        return None
    advice = _ADVICE.get(_name(default))
    if advice is None:
        advice = "give a value of the parameter's type, None, or as a sentinel object() or a member of an Enum"
    return f"has the default {_described(default)}, which oarlock does not apply; {advice}"
