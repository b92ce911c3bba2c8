"""A request's body as JSON: Python's json, without what it lets through beyond RFC 8259."""

import codecs
import json
from collections.abc import Sequence
from typing import Any

from oarlock._native import native
from oarlock.exceptions import InvalidJSON

# enum rule in worker/py/py_json_scan.c
_LEVELS = 1
_RULES = {
    _LEVELS: "Nested deeper than 200 levels",
    2: "NaN and Infinity are not JSON",
    3: "Half of a surrogate pair without the other half",
    4: "Number out of range",
}


class _TwiceError(Exception):
    """An object has a name twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _TwiceError(_first_twice([name for name, _ in pairs]))
    return made


def _first_twice(names: Sequence[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name stands there twice")


# bytes.decode would intern the codec's name for each call: threads meet there, and CPython 3.13t races (TSan)
_utf8 = codecs.getdecoder("utf-8-sig")
_decoder = json.JSONDecoder(object_pairs_hook=_object)


def loads(body: bytes) -> Any:
    """The value of a JSON text in UTF-8; a byte order mark in front is left out (RFC 8259 section 8.1).

    Raises:
        InvalidJSON: it is none, or holds what a program cannot rely on: a name twice in an object (RFC 8259 section
            4), half of a surrogate pair (section 8.2), a number that no float holds or of more than 4,300 digits
            (section 6), more than 200 levels (section 9).
    """
    broken = native.scan_json(body)
    try:
        text = _utf8(body)[0]
    except UnicodeDecodeError as exc:
        raise InvalidJSON("The text is not UTF-8", "", exc.start) from None
    if broken is not None and broken[0] == _LEVELS:
        raise _broken(broken, body, text)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as exc:
        raise InvalidJSON(exc.msg, text, exc.pos) from None
    except _TwiceError as exc:
        name = str(exc)
        raise InvalidJSON(f"The name {json.dumps(name[:100])} stands twice in an object", text, 0, name) from None
    except ValueError:  # int() has a limit: sys.set_int_max_str_digits
        raise InvalidJSON("A whole number has too many digits", text, 0) from None
    if broken is not None:
        raise _broken(broken, body, text)
    return value


def _broken(broken: tuple[int, int], body: bytes, text: str) -> InvalidJSON:
    rule, offset = broken
    return InvalidJSON(_RULES[rule], text, len(_utf8(body[:offset], "replace")[0]))
