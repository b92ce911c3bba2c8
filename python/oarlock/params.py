"""Where a handler's parameter comes from, when its name alone does not say it."""

from typing import Any


class _Source:
    """What ``Query()`` and ``Path()`` make; put it into ``Annotated`` or give it as the default."""

    source = ""

    def __init__(self, default: Any = ..., *, alias: str | None = None) -> None:
        self.default = default
        self.alias = alias

    def __repr__(self) -> str:
        return f"{type(self).__name__}(default={self.default!r}, alias={self.alias!r})"


class Query(_Source):
    """A query parameter.

    Args:
        default: its value when the client does not send it; ``...``: it is required.
        alias: the name that the client uses, where it is not the Python name.
    """

    source = "query"


class Path(_Source):
    """A path parameter.

    Args:
        default: unused; path parameters are always sent.
        alias: the name in the route's braces, where it is not the Python name.
    """

    source = "path"
