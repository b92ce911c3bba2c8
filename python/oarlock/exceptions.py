"""Exceptions that handlers raise."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class HTTPException(Exception):
    """Answers the request with a status and ``{"detail": detail}``, as in FastAPI.

    Args:
        status_code: 400 to 599 as a rule; 200 to 599 are accepted.
        detail: any value that JSON can hold; the status's phrase (RFC 9110 section 15) by default.
        headers: fields to add to the response.
    """

    def __init__(
        self,
        status_code: int,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if detail is None:
            try:
                detail = HTTPStatus(status_code).phrase
            except ValueError:
                detail = ""
        super().__init__(status_code, detail)
        self.status_code = status_code
        self.detail = detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(status_code={self.status_code!r}, detail={self.detail!r})"


class InvalidJSON(json.JSONDecodeError):
    """The body of the request is not JSON that ``request.json()`` takes; a ValueError too.

    Where nobody catches it, the client gets FastAPI's 422: ``json_invalid`` with the position.

    Args:
        msg: what is wrong.
        doc: the text of the body.
        pos: where, in characters.
        name: of an object's member, in the place of the position.
    """

    def __init__(self, msg: str, doc: str, pos: int, name: str | None = None) -> None:
        super().__init__(msg, doc, pos)
        self.name = name


class ClientDisconnect(Exception):
    """The client left before its body was complete or its response was sent, as in Starlette.

    A handler need not catch it: nothing is logged and nobody is answered.
    """


class LoadError(Exception):
    """The application cannot be served; the message names the thing, the value and the way out."""
