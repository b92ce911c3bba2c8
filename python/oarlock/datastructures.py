"""What requests and responses are made of, under Starlette's names: URL, Headers, QueryParams, State."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5


def field(name: str, value: str) -> tuple[bytes, bytes]:
    """A header field as it is sent, its name in lower case.

    Raises:
        ValueError: the name is not a token, or the value holds CR, LF, NUL or another control character, or text
            beyond ISO-8859-1 (RFC 9110 sections 5.1 and 5.5).
    """
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"the value of header field {name!r} holds a control character or text beyond ISO-8859-1: {value!r}"
        )
    return name.lower().encode("ascii"), value.encode("latin-1")


def _wanted(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")  # "?" stands in no name


class Address(NamedTuple):
    """The client's end of the connection."""

    host: str
    port: int


class Headers(Mapping[str, str]):
    """Header fields: names compare without case (RFC 9110 section 5.1); text is ISO-8859-1.

    Where a field was sent more than once, ``[]`` gives the first value and :meth:`getlist` all; ``keys()``,
    ``values()``, ``items()`` and ``len()`` count every one.

    Args:
        headers: names and values.
        raw: pairs of bytes instead, names in lower case.
    """

    __slots__ = ("_list",)

    def __init__(self, headers: Mapping[str, str] | None = None, raw: list[tuple[bytes, bytes]] | None = None) -> None:
        if headers is not None and raw is not None:
            raise TypeError("give headers or raw, not both")
        self._list: list[tuple[bytes, bytes]]
        self._list = list(raw or []) if headers is None else [field(n, v) for n, v in headers.items()]

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """All pairs as bytes, names in lower case, in order; a copy."""
        return list(self._list)

    def keys(self) -> list[str]:  # type: ignore[override]
        """All names, in order, with their repeats."""
        return [name.decode("latin-1") for name, _ in self._list]

    def values(self) -> list[str]:  # type: ignore[override]
        """All values, in order."""
        return [value.decode("latin-1") for _, value in self._list]

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """All pairs, in order."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._list]

    def getlist(self, key: str) -> list[str]:
        """All values of a field, in order."""
        wanted = _wanted(key)
        return [value.decode("latin-1") for name, value in self._list if name == wanted]

    def mutablecopy(self) -> "MutableHeaders":
        """The same fields, to be changed."""
        return MutableHeaders(raw=self._list)

    def __getitem__(self, key: str) -> str:
        wanted = _wanted(key)
        for name, value in self._list:
            if name == wanted:
                return value.decode("latin-1")
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(name == _wanted(key) for name, _ in self._list)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._list)

    def __eq__(self, other: object) -> bool:
        return sorted(self._list) == sorted(other._list) if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = dict(self.items())
        shown = repr(fields) if len(fields) == len(self) else f"raw={self._list!r}"
        return f"{type(self).__name__}({shown})"


class MutableHeaders(Headers):
    """Header fields of a response. Setting one replaces all of its values.

    Every change raises ValueError for a name that is not a token, and for a value with CR, LF, NUL or another control
    character, or text beyond ISO-8859-1 (RFC 9110 sections 5.1 and 5.5).
    """

    __slots__ = ()

    def append(self, key: str, value: str) -> None:
        """Adds a field, keeping those of the same name."""
        self._list.append(field(key, value))

    def setdefault(self, key: str, value: str) -> str:
        """The field's value; adds it where there is none."""
        if key not in self:
            self.append(key, value)
        return self[key]

    def update(self, other: Mapping[str, str]) -> None:
        """Sets every field of ``other``."""
        for key, value in other.items():
            self[key] = value

    def add_vary_header(self, vary: str) -> None:
        """Adds a name to the Vary field (RFC 9110 section 12.5.5)."""
        self["vary"] = ", ".join([*self.getlist("vary"), vary])

    def __setitem__(self, key: str, value: str) -> None:
        made = field(key, value)
        at = next((i for i, (name, _) in enumerate(self._list) if name == made[0]), len(self._list))
        self._list = [*self._list[:at], made, *(pair for pair in self._list[at:] if pair[0] != made[0])]

    def __delitem__(self, key: str) -> None:
        wanted = _wanted(key)
        self._list = [pair for pair in self._list if pair[0] != wanted]

    def __ior__(self, other: Mapping[str, str]) -> Self:
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, str]) -> "MutableHeaders":
        merged = self.mutablecopy()
        merged.update(other)
        return merged


class QueryParams(Mapping[str, str]):
    """The query's names and values (application/x-www-form-urlencoded). ``[]`` gives the last value.

    Args:
        query: the text behind the question mark, or names and values, or a list of pairs.
    """

    __slots__ = ("_dict", "_list")

    def __init__(self, query: str | bytes | Mapping[str, Any] | Iterable[tuple[str, Any]] = "") -> None:
        pairs: Iterable[tuple[str, Any]]
        if isinstance(query, str | bytes):
            text = query if isinstance(query, str) else query.decode("latin-1")
            pairs = parse_qsl(text, keep_blank_values=True)
        elif isinstance(query, QueryParams):
            pairs = query.multi_items()
        else:
            pairs = query.items() if isinstance(query, Mapping) else query
        self._list = [(str(name), str(value)) for name, value in pairs]
        self._dict = dict(self._list)

    def __getitem__(self, key: str) -> str:
        return self._dict[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def getlist(self, key: str) -> list[str]:
        """All values of a name, in order."""
        return [value for name, value in self._list if name == key]

    def multi_items(self) -> list[tuple[str, str]]:
        """All pairs, in order."""
        return list(self._list)

    def __eq__(self, other: object) -> bool:
        return sorted(self._list) == sorted(other._list) if isinstance(other, QueryParams) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return urlencode(self._list)

    def __repr__(self) -> str:
        return f"QueryParams({str(self)!r})"


class URL:
    """A URL and its parts. ``str()`` gives the whole."""

    __slots__ = ("_parts", "_text")

    def __init__(self, url: str = "") -> None:
        self._text = url
        self._parts = urlsplit(url)

    @property
    def components(self) -> SplitResult:
        """The parts as ``urllib.parse.urlsplit`` gives them."""
        return self._parts

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._parts.scheme

    @property
    def netloc(self) -> str:
        """Host and port, as they stand in the URL."""
        return self._parts.netloc

    @property
    def username(self) -> str | None:
        """The user's name in front of the host."""
        return self._parts.username

    @property
    def password(self) -> str | None:
        """The password in front of the host."""
        return self._parts.password

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
        """The path. Of ``request.url``: percent-decoded, as in Starlette; ``request.raw_path`` has what was sent."""
        return self._parts.path

    @property
    def query(self) -> str:
        """What stands behind the question mark, percent-encoded."""
        return self._parts.query

    @property
    def fragment(self) -> str:
        """What stands behind ``#``; clients do not send it."""
        return self._parts.fragment

    @property
    def is_secure(self) -> bool:
        """The scheme is ``https`` or ``wss``."""
        return self.scheme in ("https", "wss")

    def replace(self, **parts: Any) -> "URL":
        """The URL with other parts: scheme, netloc, path, query, fragment, or username, password, hostname, port."""
        if parts.keys() & {"username", "password", "hostname", "port"}:
            parts["netloc"] = self._netloc(
                parts.pop("username", self.username),
                parts.pop("password", self.password),
                parts.pop("hostname", self.hostname),
                parts.pop("port", self.port),
            )
        return URL(self._parts._replace(**parts).geturl())

    @staticmethod
    def _netloc(username: str | None, password: str | None, hostname: str | None, port: int | None) -> str:
        host = hostname or ""
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        user = "" if username is None else username + ("" if password is None else f":{password}") + "@"
        return user + host + ("" if port is None else f":{port}")

    def include_query_params(self, **params: Any) -> "URL":
        """The URL with these names set in its query."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        kept = [(name, value) for name, value in pairs if name not in params]
        return self.replace(query=urlencode(kept + [(name, str(value)) for name, value in params.items()]))

    def replace_query_params(self, **params: Any) -> "URL":
        """The URL with these names as its whole query."""
        return self.replace(query=urlencode([(name, str(value)) for name, value in params.items()]))

    def remove_query_params(self, keys: str | Iterable[str]) -> "URL":
        """The URL without these names in its query."""
        gone = {keys} if isinstance(keys, str) else set(keys)
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return self.replace(query=urlencode([(name, value) for name, value in pairs if name not in gone]))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        text = self._text
        if self.password is not None:
            text = str(self.replace(password="********"))
        return f"URL({text!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, URL | str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)


class State:
    """Values by attribute (``state.db``) or by name (``state["db"]``)."""

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

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"State({self._values!r})"
