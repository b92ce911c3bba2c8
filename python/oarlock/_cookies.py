"""Cookies as browsers and Starlette have them: RFC 6265, and the quoting of Python's http.cookies."""

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from http.cookies import SimpleCookie
from typing import Literal

_QUOTED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)


def _unquote(value: str) -> str:
    """The value that http.cookies put into quotes: ``\\351`` is a character of ISO-8859-1, ``\\"`` a quote."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _QUOTED.sub(lambda m: chr(int(m[1], 8)) if m[1] else m[2], value[1:-1])


def parse(fields: Iterable[str]) -> dict[str, str]:
    """Names and values of all Cookie fields (a proxy from HTTP/2 may send several: RFC 9113 section 8.2.3).

    Of a name that was sent twice the last value counts, as in Starlette. A part without ``=`` is a value without a name.
    """
    jar: dict[str, str] = {}
    for text in fields:
        for part in text.split(";"):
            name, equals, value = part.partition("=")
            if not equals:
                name, value = "", name
            name, value = name.strip(), value.strip()
            if name or value:
                jar[name] = _unquote(value)
    return jar


def render(
    key: str,
    value: str,
    max_age: int | None,
    expires: datetime | str | int | None,
    path: str | None,
    domain: str | None,
    secure: bool,
    httponly: bool,
    samesite: Literal["lax", "strict", "none"] | None,
    partitioned: bool,
) -> str:
    """The value of a Set-Cookie field (RFC 6265 section 4.1; Partitioned: CHIPS).

    Raises:
        ValueError: a part cannot be written there.
    """
    beyond = next((c for c in value if c > "\xff"), None)
    if beyond is not None:
        raise ValueError(
            f"the value of cookie {key!r} holds {beyond!r}, which a header field cannot; encode it, for example with "
            "urllib.parse.quote"
        )
    for name, text in (("path", path), ("domain", domain)):
        if text is not None and ";" in text:  # another attribute would begin there
            raise ValueError(f"the {name} of cookie {key!r} holds a semicolon: {text!r}")
    if samesite is not None and samesite.lower() not in ("lax", "strict", "none"):
        raise ValueError(f"samesite of cookie {key!r} is 'lax', 'strict', 'none' or None, not {samesite!r}")
    cookie: SimpleCookie = SimpleCookie()
    cookie[key] = value
    morsel = cookie[key]
    if isinstance(expires, datetime):
        expires = format_datetime(expires, usegmt=True)
    for name, given in (
        ("max-age", max_age),
        ("expires", expires),
        ("path", path),
        ("domain", domain),
        ("samesite", samesite),
    ):
        if given is not None:
            morsel[name] = given
    morsel["secure"] = secure
    morsel["httponly"] = httponly
    return morsel.OutputString() + ("; Partitioned" if partitioned else "")  # http.cookies knows it from 3.14 on
