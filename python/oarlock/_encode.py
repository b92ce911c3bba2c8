"""Types that JSON does not have, turned into ones that it has: FastAPI's jsonable_encoder."""

import dataclasses
import datetime
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MappingView
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PurePath
from re import Pattern
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any
from uuid import UUID

from oarlock.datastructures import URL


def _decimal(value: Decimal) -> int | float:
    """A whole number where the exponent says so: ``Decimal("1.0")`` is 1.0, ``Decimal("1")`` is 1."""
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    datetime.datetime: datetime.datetime.isoformat,
    datetime.date: datetime.date.isoformat,
    datetime.time: datetime.time.isoformat,
    datetime.timedelta: datetime.timedelta.total_seconds,
    UUID: str,
    Decimal: _decimal,
    Enum: lambda value: value.value,
    bytes: bytes.decode,
    set: list,
    frozenset: list,
    deque: list,
    GeneratorType: list,
    PurePath: str,
    Pattern: lambda value: value.pattern,
    IPv4Address: str,
    IPv4Interface: str,
    IPv4Network: str,
    IPv6Address: str,
    IPv6Interface: str,
    IPv6Network: str,
    URL: str,
    # subclasses of what JSON has, as plain values; Enum stands above them
    str: str.__str__,
    bool: bool,
    int: int.__pos__,
    float: float.__pos__,
    tuple: list,
}


# Types of pydantic and its companions whose text is the value; a secret's text is "**********". By name, so that
# nothing is imported which the application did not import.
_AS_TEXT = {
    ("pydantic.types", "SecretStr"),
    ("pydantic.types", "SecretBytes"),
    ("pydantic.types", "Secret"),
    ("pydantic.networks", "AnyUrl"),
    ("pydantic.networks", "_BaseMultiHostUrl"),
    ("pydantic.networks", "NameEmail"),
    ("pydantic_core", "Url"),
    ("pydantic_core", "MultiHostUrl"),
    ("pydantic_core._pydantic_core", "Url"),
    ("pydantic_core._pydantic_core", "MultiHostUrl"),
    ("pydantic.color", "Color"),
    ("pydantic_extra_types.color", "Color"),
}
_UNDEFINED = "PydanticUndefinedType"
# What has attributes but is no record of them: to send it is a mistake, most often parentheses that are missing.
_NO_RECORDS = (type, ModuleType, FunctionType, MethodType, BaseException)


def _of_pydantic(value: Any) -> tuple[bool, Any]:
    """Whether pydantic made the value's type, and then the simpler value."""
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_dump"):
        return True, value.model_dump(mode="json", by_alias=True)
    for base in kind.__mro__:
        if (base.__module__, base.__name__) in _AS_TEXT:
            return True, str(value)
    if kind.__name__ == _UNDEFINED and kind.__module__.startswith("pydantic_core"):
        return True, None
    return False, None


def _as_record(value: Any) -> dict[Any, Any] | None:
    """FastAPI's last resorts: ``dict(value)``, then ``vars(value)`` without what SQLAlchemy keeps there."""
    if isinstance(value, _NO_RECORDS):
        return None
    if isinstance(value, Mapping) or hasattr(type(value), "keys"):
        return dict(value)
    # An iterator would be half consumed by the attempt, and a view of a dictionary read as pairs.
    if hasattr(type(value), "__iter__") and not isinstance(value, Iterator | MappingView):
        try:
            return dict(value)
        except (TypeError, ValueError):  # not pairs
            pass
    try:
        attributes = vars(value)
    except TypeError:
        return None
    return {name: inner for name, inner in attributes.items() if not name.startswith("_sa")}


def default(value: Any) -> Any:
    """A simpler value for one that the C encoder does not know.

    Raises:
        TypeError: JSON has nothing for it; the message names the type.
    """
    found = _BY_TYPE.get(type(value))
    if found is not None:
        return found(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    known, simpler = _of_pydantic(value)
    if known:
        return simpler
    for kind, convert in _BY_TYPE.items():
        if isinstance(value, kind):
            return convert(value)
    if inspect.iscoroutine(value):
        raise TypeError(f"a coroutine cannot be sent as JSON: an `await` is missing before {value.__qualname__}()")
    record = _as_record(value)
    if record is not None:
        return record
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be sent as JSON: {value!r:.200}")
