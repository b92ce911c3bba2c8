"""The application: routes and their handlers."""

import contextlib
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from oarlock.datastructures import State
from oarlock.responses import Response

Handler = TypeVar("Handler", bound=Callable[..., Any])
Hook = TypeVar("Hook", bound=Callable[[], Any])
LifespanState = Mapping[str, Any] | None
Lifespan = Callable[["App"], AbstractAsyncContextManager[LifespanState]]


@dataclass(slots=True)
class Route:
    """One path and the handler that serves it; :meth:`Router.add_api_route` says what the fields mean."""

    path: str
    endpoint: Callable[..., Any]
    methods: tuple[str, ...]
    name: str
    status_code: int = 200
    response_class: type[Response] | None = None
    response_model: Any = ...
    blocking: bool | None = None
    stream: bool = False
    max_body: int | None = None
    cancel_on_disconnect: bool | None = None


class Router:
    """A collection of routes, to be included in an application or another router.

    Args:
        prefix: put in front of every path; starts with "/" and does not end with it.
    """

    def __init__(self, *, prefix: str = "") -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"a prefix starts with '/' and does not end with it, unlike {prefix!r}")
        self.prefix = prefix
        self.routes: list[Route] = []

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Iterable[str] = ("GET",),
        name: str | None = None,
        status_code: int = 200,
        response_class: type[Response] | None = None,
        response_model: Any = ...,
        blocking: bool | None = None,
        stream: bool = False,
        max_body: int | None = None,
        cancel_on_disconnect: bool | None = None,
    ) -> None:
        """Serves ``path`` with ``endpoint``.

        Args:
            path: "/items/{item_id}"; a parameter is a whole segment, with an optional convertor:
                ``{x:int}``, ``{x:float}``, ``{x:uuid}``, ``{x:str}``, ``{x:path}``.
            endpoint: a ``def`` or ``async def`` function.
            methods: of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE. GET answers HEAD too.
            name: for messages; the function's name by default.
            status_code: of what the handler returns, unless it returns a Response.
            response_class: wraps what the handler returns; JSON by default.
            response_model: the type whose fields the client gets of what the handler returns, checked and
                chosen by pydantic; by default the handler's return annotation, where that names a pydantic
                model, a dataclass or a TypedDict. None: what the handler returns is sent whole.
            blocking: for ``def``: True keeps it in the thread pool, False runs it on the event loop's
                thread (it must not wait), None lets the server decide.
            stream: start the handler at the end of the request's head; it reads the body itself, from
                ``request.stream()``, and the client sends no faster than it reads.
            max_body: bytes of a request's body that this route takes, instead of --max-body.
            cancel_on_disconnect: for ``async def``: cancel the handler when the client has gone; the
                application's choice by default.
        """
        if not path.startswith("/") and (path or not self.prefix):
            raise ValueError(f"a path starts with '/', unlike {path!r}")
        self.routes.append(
            Route(
                path=self.prefix + path,
                endpoint=endpoint,
                methods=tuple(dict.fromkeys(m.upper() for m in methods)),
                name=name or str(getattr(endpoint, "__name__", type(endpoint).__name__)),
                status_code=status_code,
                response_class=response_class,
                response_model=response_model,
                blocking=blocking,
                stream=stream,
                max_body=max_body,
                cancel_on_disconnect=cancel_on_disconnect,
            )
        )

    def include_router(self, router: "Router", *, prefix: str = "") -> None:
        """Adds the routes of another router, under ``prefix``."""
        for route in router.routes:
            self.routes.append(dataclasses.replace(route, path=self.prefix + prefix + route.path))

    def route(self, path: str, *, methods: Iterable[str] = ("GET",), **options: Any) -> Callable[[Handler], Handler]:
        """Decorator: serves ``path`` with the function; see :meth:`add_api_route`."""
        if not isinstance(path, str):
            raise TypeError(f"a route needs a path, as in @app.get('/path'), not {path!r:.200}")

        def decorate(endpoint: Handler) -> Handler:
            self.add_api_route(path, endpoint, methods=methods, **options)
            return endpoint

        return decorate

    def get(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for GET (and HEAD)."""
        return self.route(path, methods=("GET",), **options)

    def head(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for HEAD."""
        return self.route(path, methods=("HEAD",), **options)

    def post(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for POST."""
        return self.route(path, methods=("POST",), **options)

    def put(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for PUT."""
        return self.route(path, methods=("PUT",), **options)

    def patch(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for PATCH (RFC 5789)."""
        return self.route(path, methods=("PATCH",), **options)

    def delete(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for DELETE."""
        return self.route(path, methods=("DELETE",), **options)

    def options(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for OPTIONS; without one, the server answers OPTIONS with Allow."""
        return self.route(path, methods=("OPTIONS",), **options)

    def trace(self, path: str, **options: Any) -> Callable[[Handler], Handler]:
        """Decorator for TRACE."""
        return self.route(path, methods=("TRACE",), **options)


class App(Router):
    """An application: what ``oarlock run module:attribute`` serves.

    Args:
        title: for messages and documents.
        redirect_slashes: answer 307 where only the path with its last slash added or taken away
            exists, as FastAPI does; False: 404.
        cancel_on_disconnect: cancel ``async def`` handlers whose client has gone, unless the route says
            otherwise; by default they run to their end.
        lifespan: a function of the App that gives an async context manager, usually an async generator
            with one ``yield`` under ``@asynccontextmanager``. It runs once for each event loop, before
            the loop serves and after it has drained. A mapping that it yields is what ``request.state``
            begins with; context variables that it sets are seen by every handler.

    ``app.state`` holds values of the application's own, one for the whole process; ``request.app`` is the App.
    """

    def __init__(
        self,
        *,
        title: str = "oarlock",
        redirect_slashes: bool = True,
        cancel_on_disconnect: bool = False,
        lifespan: Lifespan | Callable[["App"], AsyncIterator[LifespanState]] | None = None,
    ) -> None:
        super().__init__()
        self.title = title
        self.state = State()
        self.redirect_slashes = redirect_slashes
        self.cancel_on_disconnect = cancel_on_disconnect
        self.lifespan: Lifespan | None
        if inspect.isasyncgenfunction(lifespan):
            self.lifespan = contextlib.asynccontextmanager(lifespan)
        else:
            self.lifespan = lifespan  # type: ignore[assignment]
        self.worker_start: list[Callable[[], Any]] = []
        self.worker_stop: list[Callable[[], Any]] = []

    def on_worker_start(self, function: Hook) -> Hook:
        """Decorator: calls a ``def`` once in each worker process, before its event loops exist."""
        return self._hook(function, self.worker_start, "on_worker_start")

    def on_worker_stop(self, function: Hook) -> Hook:
        """Decorator: calls a ``def`` once in each worker process, after its event loops have ended."""
        return self._hook(function, self.worker_stop, "on_worker_stop")

    @staticmethod
    def _hook(function: Hook, hooks: list[Callable[[], Any]], name: str) -> Hook:
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} takes a `def`: there is no event loop yet or any more; use lifespan instead")
        hooks.append(function)
        return function
