"""The request as a handler sees it: Starlette's names, made lazily from the bytes that were received."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from oarlock._native import native
from oarlock._stream import BodyStream


class Headers(Mapping[str, str]):
    """Header fields: names compare without case (RFC 9110 section 5.1); text is ISO-8859-1.

    Where a field was sent more than once, ``[]`` gives the first value and :meth:`getlist` all.
    """

    __slots__ = ("_pairs",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in raw]

    def __getitem__(self, key: str) -> str:
        wanted = key.lower()
        for name, value in self._pairs:
            if name == wanted:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def getlist(self, key: str) -> list[str]:
        """All values of a field, in the order of arrival."""
        wanted = key.lower()
        return [value for name, value in self._pairs if name == wanted]

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"


class QueryParams(Mapping[str, str]):
    """The query's names and values (application/x-www-form-urlencoded). ``[]`` gives the last value."""

    __slots__ = ("_pairs",)

    def __init__(self, query: bytes) -> None:
        self._pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)

    def __getitem__(self, key: str) -> str:
        for name, value in reversed(self._pairs):
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name for name, _ in self._pairs})

    def getlist(self, key: str) -> list[str]:
        """All values of a name, in order."""
        return [value for name, value in self._pairs if name == key]

    def multi_items(self) -> list[tuple[str, str]]:
        """All pairs, in order."""
        return list(self._pairs)


class URL:
    """A URL and its parts, under Starlette's names. ``str()`` gives the whole."""

    __slots__ = ("_parts", "_text")

    def __init__(self, url: str) -> None:
        self._text = url
        self._parts = urlsplit(url)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._parts.scheme

    @property
    def netloc(self) -> str:
        """Host and port, as they stand in the URL."""
        return self._parts.netloc

    @property
    def hostname(self) -> str | None:
        """The host in lower case, without brackets."""
        return self._parts.hostname

    @property
    def port(self) -> int | None:
        """The port that the URL names; None: the scheme's. A port beyond 65535 is None too."""
        try:
            return self._parts.port
        except ValueError:
            return None

    @property
    def path(self) -> str:
        """The path, percent-encoded."""
        return self._parts.path

    @property
    def query(self) -> str:
        """What stands behind the question mark, percent-encoded."""
        return self._parts.query

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"URL({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, URL | str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)


class State:
    """Values by attribute (``state.db``) or by name (``state["db"]``), as Starlette's State."""

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_values", dict(values or {}))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the state has no '{name}'; it has {', '.join(self._values) or 'nothing'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._values[name]
        except KeyError:
            raise AttributeError(f"the state has no '{name}'") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"State({self._values!r})"


class Address(NamedTuple):
    """The client's end of the connection."""

    host: str
    port: int


class Request(native.Request):  # type: ignore[misc,name-defined]
    """One request. It keeps its own copy of the bytes, so it may be used after the response was sent.

    ``method``, ``raw_path``, ``query_string``, ``http_version``, ``path_params`` and ``raw_headers`` come from
    the native half.
    """

    __slots__ = ("_body", "_consumed", "_headers", "_query", "_state")
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
            self._headers = Headers(self.raw_headers)
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
        """Names and values of the Cookie field (RFC 6265 section 4.2)."""
        jar: dict[str, str] = {}
        for part in self.headers.get("cookie", "").split(";"):
            name, equals, value = part.strip().partition("=")
            if equals:
                jar[name] = value.strip('"')
        return jar

    @property
    def url(self) -> URL:
        """The request's URL as the client used it: scheme and host are those that a trusted proxy gives
        (--proxy-headers), else ``http`` and the Host field.
        """
        query = self.query_string.decode("latin-1")
        host = self._host or self.headers.get("host", "")
        return URL(f"{self._scheme}://{host}{self.raw_path.decode('latin-1')}{'?' + query if query else ''}")

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
        """The body as JSON.

        Raises:
            json.JSONDecodeError: the body is not JSON.
        """
        return json.loads(await self.body())

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"
