"""The request as a handler sees it: Starlette's names, made lazily from the bytes that were received."""

import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, unquote

from oarlock import _body, _cookies
from oarlock._native import native
from oarlock._stream import BodyStream
from oarlock.datastructures import URL, Address, Headers, QueryParams, State

if TYPE_CHECKING:
    from oarlock.app import App

__all__ = ["URL", "Address", "Headers", "QueryParams", "Request", "State"]

# Decoded, these would end the path of a URL, or vanish from it or from a header field that it is put into.
_KEPT_ENCODED = re.compile(r"[\x00-\x1f\x7f?#\\]")


class Request(native.Request):  # type: ignore[misc,name-defined]
    """One request. It keeps its own copy of the bytes, so it may be used after the response was sent.

    ``method``, ``raw_path``, ``query_string``, ``http_version``, ``path_params`` and ``raw_headers`` come from
    the native half.
    """

    app: "ClassVar[App]"
    """The application, which is the same for all requests of a process."""

    __slots__ = ("_body", "_consumed", "_cookies", "_headers", "_json", "_query", "_state")
    _cookies: dict[str, str]
    _json: Any
    _state: State
    _body: bytes
    _consumed: bool
    _headers: Headers
    _query: QueryParams

    @property
    def path(self) -> str:
        """The path, percent-decoded; bytes that are not UTF-8 become U+FFFD."""
        return unquote(self.raw_path.decode("latin-1"), errors="replace")

    @property
    def headers(self) -> Headers:
        """The header fields."""
        try:
            return self._headers
        except AttributeError:
            self._headers = Headers(raw=self.raw_headers)
            return self._headers

    @property
    def query_params(self) -> QueryParams:
        """The query's names and values."""
        try:
            return self._query
        except AttributeError:
            self._query = QueryParams(self.query_string)
            return self._query

    @property
    def cookies(self) -> dict[str, str]:
        """Names and values of the Cookie fields (RFC 6265 section 4.2), unquoted as Python's http.cookies quotes."""
        try:
            return self._cookies
        except AttributeError:
            self._cookies = _cookies.parse(self.headers.getlist("cookie"))
            return self._cookies

    @property
    def url(self) -> URL:
        """The request's URL as the client used it: scheme and host are those that a trusted proxy gives
        (--proxy-headers), else ``http`` and the Host field. Its path is percent-decoded, as in Starlette, but for
        control characters and ``?``, ``#`` and a backslash.
        """
        query = self.query_string.decode("latin-1")
        host = self._host or self.headers.get("host", "")
        path = _KEPT_ENCODED.sub(lambda m: quote(m[0]), self.path)
        return URL(f"{self._scheme}://{host}{path}{'?' + query if query else ''}")

    @property
    def base_url(self) -> URL:
        """Scheme and host with the path ``/``."""
        return URL(f"{self._scheme}://{self._host or self.headers.get('host', '')}/")

    @property
    def state(self) -> State:
        """This request's own state; it begins with what the application's lifespan yielded."""
        try:
            return self._state
        except AttributeError:
            self._state = State(self._lifespan_state)
            return self._state

    @property
    def client(self) -> Address | None:
        """Who sent the request: the connection's other end, or whom a trusted proxy names (--proxy-headers,
        --proxy-protocol; the port is 0 where it does not say). None on a unix socket, and where trusted proxies
        do not name a client: a proxy's address is never given as the client's.
        """
        pair = self._client
        return Address(*pair) if pair else None

    def stream(self) -> BodyStream:
        """The body piece by piece: ``async for`` in an ``async def``, a plain ``for`` in a ``def``.

        On a route with ``stream=True`` the handler starts before the body has come, and the client sends no faster
        than the handler reads. On other routes the whole body is one piece.

        Raises:
            RuntimeError: the body of a streaming route was already read.
        """
        if not self._streams:
            return BodyStream(None, self._content)
        if hasattr(self, "_body"):
            return BodyStream(None, self._body)
        if hasattr(self, "_consumed"):
            raise RuntimeError("the body has been read; it can be streamed once")
        self._consumed = True
        return BodyStream(self._exchange, b"")

    @property
    def content(self) -> bytes:
        """The whole body. On a route with ``stream=True`` it waits for it, so it is for ``def`` handlers there."""
        if not self._streams:
            return self._content  # type: ignore[no-any-return]
        if not hasattr(self, "_body"):
            self._body = b"".join(self.stream())
        return self._body

    async def body(self) -> bytes:
        """The whole body. In a ``def`` handler use :attr:`content`, which is the same."""
        if not self._streams:
            return self._content  # type: ignore[no-any-return]
        if not hasattr(self, "_body"):
            self._body = b"".join([piece async for piece in self.stream()])
        return self._body

    @property
    def disconnected(self) -> bool:
        """True once nobody reads the response: the client reset the connection, or a deadline answered for the handler.

        A client that only finished sending (a FIN) still reads: RFC 9112 section 9.6.
        """
        return bool(self._exchange.gone)

    async def is_disconnected(self) -> bool:
        """The same as :attr:`disconnected`, under Starlette's name."""
        return self.disconnected

    async def json(self) -> Any:
        """The body as JSON (RFC 8259), the same object each time.

        A client's mistake is an exception that a handler need not catch: it is FastAPI's 422 for malformed JSON, and
        nothing is logged. So is what JSON's grammar lets through and most programs cannot use: a name twice in an
        object, text with half a surrogate pair, numbers beyond a float or of more than 4,300 digits, over 200 levels.

        Raises:
            InvalidJSON: a :class:`json.JSONDecodeError`, with what is wrong and where.
        """
        try:
            return self._json
        except AttributeError:
            self._json = _body.loads(await self.body())
            return self._json

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"
