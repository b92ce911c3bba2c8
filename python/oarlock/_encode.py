"""Types that JSON does not have, turned into ones that it has: FastAPI's jsonable_encoder."""

import dataclasses
import datetime
from collections import deque
from collections.abc import Callable, Mapping
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
from types import GeneratorType
from typing import Any
from uuid import UUID


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
    # subclasses of what JSON has, as plain values; Enum stands above them
    str: str.__str__,
    bool: bool,
    int: int.__pos__,
    float: float.__pos__,
    tuple: list,
}


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
    dump = getattr(value, "model_dump", None)  # pydantic 2
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    for known, convert in _BY_TYPE.items():
        if isinstance(value, known):
            return convert(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be sent as JSON: {value!r:.200}")
