"""oarlock: a prefork HTTP server in C for Python handlers.

Write an application with names that FastAPI and Starlette users know, and serve it with
``oarlock run module:attribute``::

    from oarlock import App

    app = App()

    @app.get("/items/{item_id}")
    async def read_item(item_id: int, q: str | None = None):
        return {"item_id": item_id, "q": q}
"""

from oarlock.app import App, Route, Router
from oarlock.background import BackgroundTask, BackgroundTasks
from oarlock.concurrency import run_in_threadpool
from oarlock.datastructures import URL, Headers, MutableHeaders, QueryParams, State
from oarlock.exceptions import ClientDisconnect, HTTPException, InvalidJSON
from oarlock.params import Path, Query
from oarlock.requests import Request
from oarlock.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

__version__ = "0.1.0"

__all__ = [
    "URL",
    "App",
    "BackgroundTask",
    "BackgroundTasks",
    "ClientDisconnect",
    "HTMLResponse",
    "HTTPException",
    "Headers",
    "InvalidJSON",
    "JSONResponse",
    "MutableHeaders",
    "Path",
    "PlainTextResponse",
    "Query",
    "QueryParams",
    "RedirectResponse",
    "Request",
    "Response",
    "Route",
    "Router",
    "State",
    "StreamingResponse",
    "__version__",
    "run_in_threadpool",
]
