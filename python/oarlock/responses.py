"""Responses: what a handler returns when it wants to say more than a value."""

import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, MutableMapping
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from oarlock._native import native

if TYPE_CHECKING:
    from oarlock.background import BackgroundTask

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5
# The server frames messages itself: RFC 9112 section 6.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "date"})


class MutableHeaders(MutableMapping[str, str]):
    """Header fields of a response. Names compare without case; setting one replaces all of its values."""

    __slots__ = ("_pairs",)

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._pairs: list[tuple[str, str]] = []
        for name, value in (headers or {}).items():
            self.append(name, value)

    def append(self, name: str, value: str) -> None:
        """Adds a field, keeping those of the same name.

        Raises:
            ValueError: the name is not a token, or the value holds CR, LF, NUL or another control
                character (RFC 9110 sections 5.1 and 5.5).
        """
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header field")
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"the value of header field {name!r} holds a control character or text beyond ISO-8859-1: {value!r}"
            )
        self._pairs.append((name.lower(), value))

    def __getitem__(self, key: str) -> str:
        wanted = key.lower()
        for name, value in self._pairs:
            if name == wanted:
                return value
        raise KeyError(key)

    def __setitem__(self, key: str, value: str) -> None:
        old = self._pairs
        self._pairs = [pair for pair in old if pair[0] != key.lower()]
        try:
            self.append(key, value)
        except ValueError:
            self._pairs = old
            raise

    def __delitem__(self, key: str) -> None:
        kept = [pair for pair in self._pairs if pair[0] != key.lower()]
        if len(kept) == len(self._pairs):
            raise KeyError(key)
        self._pairs = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def raw(self) -> list[tuple[str, str]]:
        """All pairs, in order."""
        return list(self._pairs)


class Response:
    """A response with any body.

    Args:
        content: bytes, or text that is encoded as UTF-8; None is an empty body.
        status_code: 200 to 599.
        headers: fields to send; framing fields (Content-Length and the like) are the server's.
        media_type: the Content-Type; text types get ``; charset=utf-8``.
        background: what to do once the response has been sent, a BackgroundTask or BackgroundTasks.
    """

    media_type: str | None = None
    charset = "utf-8"

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: "BackgroundTask | None" = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        if media_type is not None:
            self.media_type = media_type
        self.headers = MutableHeaders(headers)
        self.body: bytes = self.render(content)

    def render(self, content: Any) -> bytes:
        """The body's bytes. Subclasses override it."""
        if content is None:
            return b""
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content)
        if isinstance(content, str):
            return content.encode(self.charset)
        raise TypeError(
            f"{type(self).__name__} takes bytes or str, not {type(content).__name__}; return the value "
            "itself, or a JSONResponse, to send it as JSON"
        )

    def set_cookie(
        self,
        key: str,
        value: str = "",
        *,
        max_age: int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
    ) -> None:
        """Adds a Set-Cookie field (RFC 6265 section 4.1). ``max_age`` is in seconds."""
        cookie: SimpleCookie = SimpleCookie()
        cookie[key] = value
        morsel = cookie[key]
        if max_age is not None:
            morsel["max-age"] = max_age
        for name, given in (("path", path), ("domain", domain), ("samesite", samesite)):
            if given is not None:
                morsel[name] = given
        morsel["secure"] = secure
        morsel["httponly"] = httponly
        self.headers.append("set-cookie", morsel.OutputString())

    def delete_cookie(self, key: str, *, path: str = "/", domain: str | None = None) -> None:
        """Tells the client to forget a cookie."""
        self.set_cookie(key, max_age=0, path=path, domain=domain)

    def _render_head(self) -> bytes:
        """The header lines, for the server."""
        lines = [f"{n}: {v}\r\n" for n, v in self.headers.raw() if n not in _FRAMING]
        if self.media_type is not None and "content-type" not in self.headers:
            kind = self.media_type
            if not _VALUE.fullmatch(kind):
                raise ValueError(f"media_type holds a control character: {kind!r}")
            if kind.startswith("text/") and "charset=" not in kind.lower():
                kind += f"; charset={self.charset}"
            lines.append(f"content-type: {kind}\r\n")
        return "".join(lines).encode("latin-1")


class StreamingResponse(Response):
    """A body given piece by piece: chunked, or up to the end of the connection for HTTP/1.0 (RFC 9112 section 7.1).

    The client sets the pace: the iterator is not asked for more while 64 KiB wait. When the client leaves, the
    iterator is closed. A plain iterator runs in the thread pool, an async one on the event loop. If it raises, the
    connection is cut, so that the client does not take what it has for the whole.

    Args:
        content: an iterable or async iterable of bytes or text (sent as UTF-8).
        status_code: 200 to 599.
        headers: fields to send.
        media_type: the Content-Type.
        background: what to do once the last piece has been given, a BackgroundTask or BackgroundTasks.
    """

    def __init__(
        self,
        content: Iterable[Any] | AsyncIterable[Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: "BackgroundTask | None" = None,
    ) -> None:
        if isinstance(content, str | bytes | bytearray) or not (
            hasattr(content, "__aiter__") or hasattr(content, "__iter__")
        ):
            raise TypeError(f"{type(self).__name__} takes an iterable of bytes or str, not {type(content).__name__}")
        self.body_iterator = content
        super().__init__(None, status_code, headers, media_type, background)


class JSONResponse(Response):
    """A value as JSON, encoded as a handler's return value is."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return native.dumps(content)  # type: ignore[no-any-return]


class PlainTextResponse(Response):
    """Text."""

    media_type = "text/plain"


class HTMLResponse(Response):
    """A page."""

    media_type = "text/html"


class RedirectResponse(Response):
    """Sends the client elsewhere.

    Args:
        url: where to; characters that a URL cannot hold are percent-encoded.
        status_code: 307 keeps method and body; 303 makes it a GET (RFC 9110 section 15.4).
        headers: further fields.
        background: what to do once the response has been sent.
    """

    def __init__(
        self,
        url: str,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: "BackgroundTask | None" = None,
    ) -> None:
        super().__init__(b"", status_code, headers, None, background)
        self.headers["location"] = quote(str(url), safe=":/%#?=@[]!$&'()*+,;")
