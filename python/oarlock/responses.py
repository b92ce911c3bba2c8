"""Responses: what a handler returns when it wants to say more than a value."""

from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from oarlock import _cookies
from oarlock._native import native
from oarlock.datastructures import URL, MutableHeaders

if TYPE_CHECKING:
    from oarlock.background import BackgroundTask

# The server frames messages itself: RFC 9112 section 6.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date"})


class Response:
    """A response with any body.

    Args:
        content: bytes, or text that is encoded as UTF-8; None is an empty body.
        status_code: 200 to 599.
        headers: fields to send; framing fields (Content-Length and the like) are the server's. A Content-Type here
            is sent in the place of media_type.
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
        self._add_content_type()

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields as pairs of bytes; a copy: change ``headers``."""
        return self.headers.raw

    def _add_content_type(self) -> None:
        kind = self.media_type
        if kind is not None and "content-type" not in self.headers:
            if kind.startswith("text/") and "charset=" not in kind.lower():
                kind += f"; charset={self.charset}"
            self.headers.append("content-type", kind)

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
        max_age: int | None = None,
        expires: datetime | str | int | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Adds a Set-Cookie field (RFC 6265 section 4.1).

        Args:
            key: the name.
            value: any text of ISO-8859-1; what a cookie cannot hold is quoted, and ``request.cookies`` unquotes it.
            max_age: seconds that the client keeps it; None: until it ends.
            expires: when it ends: a date with a time zone, a text of RFC 9110 section 5.6.7, or seconds from now.
            path: below which the client sends it.
            domain: whose hosts get it; None: this host only.
            secure: only over TLS.
            httponly: not for scripts.
            samesite: which requests from other sites carry it; None: the browser's choice.
            partitioned: a jar of its own for each site that embeds this one; needs ``secure``.

        Raises:
            ValueError: a part cannot be written there: text beyond ISO-8859-1, a semicolon in path or domain.
        """
        self.headers.append(
            "set-cookie",
            _cookies.render(key, value, max_age, expires, path, domain, secure, httponly, samesite, partitioned),
        )

    def delete_cookie(
        self,
        key: str,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: Literal["lax", "strict", "none"] | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Tells the client to forget a cookie: of the same path, domain and, in browsers, the same attributes."""
        self.set_cookie(key, "", 0, 0, path, domain, secure, httponly, samesite, partitioned)

    def _render_head(self) -> bytes:
        """The header lines, for the server."""
        return b"".join([b"%b: %b\r\n" % (n, v) for n, v in self.headers._list if n not in _FRAMING])


class StreamingResponse(Response):
    """A body given piece by piece: chunked, or up to the end of the connection for HTTP/1.0 (RFC 9112 section 7.1).

    The client sets the pace: the iterator is not asked for more while 64 KiB wait. When the client leaves, the
    iterator is closed. A plain iterator runs in the thread pool, an async one on the event loop. If it raises, the
    connection is cut, so that the client does not take what it has for the whole.

    Args:
        content: an iterable or async iterable of bytes or text (sent as UTF-8).
        status_code: 200 to 599.
        headers: fields to send. A Content-Length is kept, so that the client knows how much is to come: the body is
            then not chunked, and one that turns out shorter or longer is cut off and logged.
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

    def _content_length(self) -> int:
        """The Content-Length that the handler has given; -1: none.

        Raises:
            ValueError: it is no number of bytes (RFC 9110 section 8.6).
        """
        given = self.headers.getlist("content-length")
        if not given:
            return -1
        if len(given) > 1 or not (given[0].isascii() and given[0].isdigit() and len(given[0]) < 19):
            raise ValueError(
                f"the Content-Length of a streamed response is {', '.join(given)!r}, not a number of bytes"
            )
        return int(given[0])


class _TextStream(StreamingResponse):
    media_type = "text/plain"


class _BytesStream(StreamingResponse):
    media_type = "application/octet-stream"


def generator_response(returned: Any) -> type[StreamingResponse]:
    """What sends the items of a handler that is a generator, by its return annotation (``Iterator[bytes]``)."""
    return _BytesStream if bytes in get_args(returned) else _TextStream


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
        url: str | URL,
        status_code: int = 307,
        headers: Mapping[str, str] | None = None,
        background: "BackgroundTask | None" = None,
    ) -> None:
        super().__init__(b"", status_code, headers, None, background)
        self.headers["location"] = quote(str(url), safe=":/%#?=@[]!$&'()*+,;")
