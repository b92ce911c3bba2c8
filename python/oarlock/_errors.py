"""What an exception in a handler becomes: a response, and a text for the log."""

import traceback
from pathlib import Path
from types import TracebackType

from oarlock.exceptions import HTTPException, InvalidJSON
from oarlock.responses import JSONResponse, PlainTextResponse, Response

_OURS = str(Path(__file__).resolve().parent)


def own_frames(exc: BaseException) -> str:
    """The traceback without the frames of oarlock and of the import machinery."""
    tb: TracebackType | None = exc.__traceback__
    while tb is not None and (
        tb.tb_frame.f_code.co_filename.startswith((_OURS, "<frozen importlib"))
        or tb.tb_frame.f_globals.get("__name__") == "importlib"
    ):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(exc), exc, tb))


def _answer(exc: HTTPException) -> Response:
    if not isinstance(exc.status_code, int) or not 200 <= exc.status_code <= 599:
        raise ValueError(f"a status_code is a number from 200 to 599, not {exc.status_code!r}")
    if exc.status_code in (204, 304):  # they have no body: RFC 9110 sections 15.3.5, 15.4.5
        return Response(None, exc.status_code, exc.headers)
    return JSONResponse({"detail": exc.detail}, exc.status_code, exc.headers)


def render(exc: BaseException, route: str, debug: int) -> tuple[Response, str | None]:
    """The response, and what to log (None: nothing).

    Args:
        exc: what the handler raised.
        route: the path of the route, for the log.
        debug: put the traceback into the response.
    """
    unanswerable = ""
    if isinstance(exc, HTTPException):
        try:
            return _answer(exc), None
        except Exception as why:  # the application's mistake: below, with its place
            unanswerable = f"It cannot be an answer: {why}"
    if isinstance(exc, InvalidJSON):
        error = {
            "type": "json_invalid",
            "loc": ["body", exc.pos if exc.name is None else exc.name],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": exc.msg},
        }
        return JSONResponse({"detail": [error]}, 422), None
    text = f"{route}: the handler raised {type(exc).__name__}\n{own_frames(exc)}{unanswerable}"
    if debug:
        return PlainTextResponse(own_frames(exc).encode("utf-8", "replace"), 500), text
    return JSONResponse({"detail": "Internal Server Error"}, 500), text
