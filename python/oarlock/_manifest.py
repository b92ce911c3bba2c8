"""Imports an application and says, as the manifest, what its routes and parameters are."""

import difflib
import functools
import importlib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Union
from uuid import UUID

from oarlock import _markers, _response_model
from oarlock.app import App, Route
from oarlock.background import BackgroundTasks
from oarlock.exceptions import LoadError
from oarlock.params import Path, Query
from oarlock.requests import Request
from oarlock.responses import StreamingResponse, generator_response

_TYPES: dict[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    UUID: "uuid",
    Any: "str",
    inspect.Parameter.empty: "str",
}


# ---- import -------------------------------------------------------------------------------------


def import_app(target: str, factory: bool) -> App:
    """The application that ``module:attribute`` names.

    Raises:
        LoadError: there is no such module or attribute, or it is not an App.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (module_name == exc.name or module_name.startswith(exc.name + ".")):
            raise LoadError(
                f"there is no module '{module_name}' in --app-dir ({sys.path[0]}) or among the installed packages"
                + _hint(_modules_in(sys.path[0]), module_name)
            ) from None
        raise
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise LoadError(f"module '{module_name}' has no attribute '{attribute}'" + _suggest(module, attribute))
        found = getattr(found, part)
    return _as_app(module, module_name, attribute, found, factory)


def _as_app(module: types.ModuleType, name: str, attribute: str, found: Any, factory: bool) -> App:
    if factory:
        if isinstance(found, App) or not callable(found):
            raise LoadError(
                f"--factory: attribute '{attribute}' of module '{name}' is {_kind(found)}, not a function "
                "that returns an App; leave --factory out"
            )
        found = found()
        if not isinstance(found, App):
            raise LoadError(f"--factory: {name}:{attribute}() returned {_kind(found)}, not an App")
        return found
    if isinstance(found, App):
        return found
    if inspect.isfunction(found):
        raise LoadError(
            f"attribute '{attribute}' of module '{name}' is a function, not an App; "
            "if it returns the App, give --factory" + _suggest(module, attribute)
        )
    raise LoadError(
        f"attribute '{attribute}' of module '{name}' is {_kind(found)}, not an App" + _suggest(module, attribute)
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _suggest(module: types.ModuleType, attribute: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not apps:
        return "; the module has no App at its top level"
    close = difflib.get_close_matches(attribute, apps, n=1, cutoff=0)
    return f"; did you mean '{close[0] if close else apps[0]}'?"


def _modules_in(folder: str) -> list[str]:
    try:
        entries = os.listdir(folder)
    except OSError:
        return []
    return [e.removesuffix(".py") for e in entries if e.endswith(".py") or os.path.isdir(os.path.join(folder, e))]


def _hint(names: list[str], wanted: str) -> str:
    close = difflib.get_close_matches(wanted, names, n=1)
    return f"; did you mean '{close[0]}'?" if close else "; give --app-dir the folder that holds it"


# ---- routes and parameters ----------------------------------------------------------------------


@functools.cache
def _is_async(endpoint: Callable[..., Any]) -> bool:
    target = endpoint
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = getattr(target, "__call__", target)  # noqa: B004  an object with async def __call__
    return inspect.iscoroutinefunction(target)


def _is_generator(endpoint: Callable[..., Any]) -> bool:
    function = inspect.unwrap(endpoint)
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def _source(endpoint: Callable[..., Any]) -> str:
    """file:line of the handler, relative to the working folder where it lies below it."""
    target = inspect.unwrap(endpoint)
    while isinstance(target, functools.partial):
        target = target.func
    code = getattr(target, "__code__", None) or getattr(type(target).__call__, "__code__", None)
    if code is None:
        return f"{getattr(target, '__module__', '?')}:0"
    file = os.path.relpath(code.co_filename)
    return f"{code.co_filename if file.startswith('..') else file}:{code.co_firstlineno}"


def _path_names(path: str) -> list[str]:
    return [s[1:-1].partition(":")[0] for s in path.split("/") if s.startswith("{") and s.endswith("}")]


class _Param:
    """One parameter of a handler, understood."""

    def __init__(self, route: Route, parameter: inspect.Parameter, annotation: Any) -> None:
        self.name = parameter.name
        self.keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        self.default = parameter.default
        marker = None
        if typing.get_origin(annotation) is Annotated:
            annotation, *extras = typing.get_args(annotation)
            marker, problem = _markers.find(extras)
            self._refuse(route, problem)
        if isinstance(self.default, Query | Path):
            marker, self.default = self.default, self.default.default
        elif marker is not None and self.default is inspect.Parameter.empty:
            self.default = marker.default
        self._refuse(route, _markers.refused_default(self.default))
        if self.default is ...:  # required, as in FastAPI
            self.default = inspect.Parameter.empty
        # what the server gives, not the client
        self.given = "request" if annotation is Request else "background" if annotation is BackgroundTasks else None
        self.wire_name = marker.alias if marker is not None and marker.alias else self.name
        names = _path_names(route.path)
        self.source = (
            "path"
            if isinstance(marker, Path) or (self.wire_name in names and not isinstance(marker, Query))
            else "query"
        )
        if self.source == "path" and self.wire_name not in names and not self.given:
            raise LoadError(
                f"{_where(route)}: parameter '{self.name}' is a Path, but the route '{route.path}' has no {{{self.wire_name}}}"
            )
        self.nullable, self.type = self._type(route, annotation)

    def _refuse(self, route: Route, problem: str | None) -> None:
        if problem is not None:
            raise LoadError(f"{_where(route)}: parameter '{self.name}' {problem}")

    def _type(self, route: Route, annotation: Any) -> tuple[bool, str]:
        if self.given:
            return False, "str"
        nullable = False
        if typing.get_origin(annotation) in (Union, types.UnionType):
            rest = [a for a in typing.get_args(annotation) if a is not type(None)]
            nullable = len(rest) < len(typing.get_args(annotation))
            annotation = rest[0] if len(rest) == 1 else annotation
        try:
            return nullable, _TYPES[annotation]
        except (KeyError, TypeError):
            raise LoadError(
                f"{_where(route)}: parameter '{self.name}' has type {_type_name(annotation)}; this version "
                "takes int, float, bool, str and UUID from path and query, Request and BackgroundTasks. Take the body from a "
                "parameter `request: Request` with `await request.json()`"
            ) from None

    def manifest(self) -> dict[str, Any]:
        return {
            "name": self.wire_name,
            "segment": self.wire_name,
            "in": self.source,
            "type": self.type,
            "required": self.default is inspect.Parameter.empty,
            "nullable": self.nullable,
        }


def _where(route: Route) -> str:
    return f"{_source(route.endpoint)}: handler '{route.name}'"


def _type_name(annotation: Any) -> str:
    """Also where it is from, unless that is Python: there is more than one Request."""
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return str(annotation)
    return (
        annotation.__name__ if annotation.__module__ == "builtins" else f"{annotation.__module__}.{annotation.__name__}"
    )


def _signature(route: Route) -> tuple[inspect.Signature, dict[str, Any]]:
    """The handler's signature, and its annotations as objects.

    Raises:
        LoadError: an annotation names nothing, or Python cannot say what the parameters are.
    """
    try:
        signature = inspect.signature(route.endpoint)
        hints = (
            typing.get_type_hints(inspect.unwrap(route.endpoint), include_extras=True)
            if inspect.isroutine(route.endpoint)
            else {}
        )
    except NameError as exc:
        raise LoadError(f"{_where(route)}: an annotation cannot be resolved: {exc}") from None
    except ValueError as exc:
        raise LoadError(f"{_where(route)}: its parameters are unknown: {exc}") from None
    return signature, hints


def _responder(route: Route) -> Callable[[Any, int], Any] | None:
    """What makes a response of the value that the handler returns; None: JSON."""
    signature, hints = _signature(route)
    generator = _is_generator(route.endpoint)
    returned = hints.get("return", signature.return_annotation)
    model = _response_model.of(_where(route), returned, route.response_model, route.response_class, generator)
    if model is not None:
        return model
    return route.response_class or (generator_response(returned) if generator else None)


def _params(route: Route) -> list[_Param]:
    signature, hints = _signature(route)
    params = []
    for p in signature.parameters.values():
        if p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise LoadError(
                f"{_where(route)}: parameter '{p}' has no name that a request could fill; name each parameter"
            )
        params.append(_Param(route, p, hints.get(p.name, p.annotation)))
    return params


def _check(route: Route) -> None:
    if not callable(route.endpoint):
        raise LoadError(f"route '{route.path}': the handler is {_kind(route.endpoint)}, which cannot be called")
    if _is_generator(route.endpoint) and route.response_class is not None:
        given = route.response_class
        if not (isinstance(given, type) and issubclass(given, StreamingResponse)):
            raise LoadError(
                f"{_where(route)} is a generator: its response_class must be a StreamingResponse, not {given!r}"
            )
    if route.blocking and _is_async(route.endpoint):
        raise LoadError(
            f"{_where(route)}: blocking=True is for a `def`; an `async def` runs on the event loop, "
            "and what blocks in it belongs into run_in_threadpool()"
        )
    if route.stream and route.blocking is False and not _is_async(route.endpoint):
        raise LoadError(
            f"{_where(route)}: stream=True with blocking=False would block the event loop while it reads the body; "
            "leave blocking out, or make the handler async"
        )
    if route.stream and not any(p.given == "request" for p in _params(route)):
        raise LoadError(f"{_where(route)}: stream=True needs a parameter `request: Request` to read the body from")
    limit = route.max_body
    if limit is not None and not (isinstance(limit, int) and 0 <= limit <= 2**53):
        raise LoadError(f"{_where(route)}: max_body is a number of bytes from 0 to 2**53, not {limit!r}")
    _responder(route)  # refused now rather than in the worker
    if not 200 <= route.status_code <= 599:
        raise LoadError(f"{_where(route)}: status_code must be 200 to 599, not {route.status_code}")


def _cancels(app: App, route: Route) -> bool:
    return app.cancel_on_disconnect if route.cancel_on_disconnect is None else route.cancel_on_disconnect


def _route(app: App, route: Route) -> dict[str, Any]:
    _check(route)
    return {
        "path": route.path,
        "name": route.name,
        "source": _source(route.endpoint),
        "methods": list(route.methods),
        "kind": "async" if _is_async(route.endpoint) else "def",
        "blocking": {None: "auto", True: "yes", False: "no"}[route.blocking],
        "stream": route.stream,
        "max_body": route.max_body,
        "cancel": _cancels(app, route),
        "params": [p.manifest() for p in _params(route) if not p.given],
    }


def dumps(app: App) -> str:
    """The manifest as JSON; the same text for the same application."""
    routes = [_route(app, route) for route in app.routes]
    return json.dumps({"version": 1, "redirect_slashes": app.redirect_slashes, "routes": routes}, separators=(",", ":"))


def handlers(app: App) -> list[tuple[Any, ...]]:
    """One tuple for each route, as py_handlers.c reads it."""
    specs: list[tuple[Any, ...]] = []
    for route in app.routes:
        params = _params(route)
        values = 0
        plan: list[tuple[Any, ...]] = []
        for p in params:
            if p.given:
                plan.append((p.given,))
            elif p.default is inspect.Parameter.empty:
                plan.append(("value", values))
            else:
                plan.append(("value", values, p.default))
            values += p.given is None
        keywords = tuple(p.name for p in params if p.keyword)
        is_async = _is_async(route.endpoint)
        # A generator function only makes the generator; what iterates it chooses the thread.
        streams = _is_generator(route.endpoint)
        in_pool = not is_async and not streams and route.blocking is not False
        specs.append(
            (
                route.endpoint,
                is_async,
                in_pool,
                route.status_code,
                _responder(route),
                tuple(plan),
                keywords,
                in_pool and route.blocking is None and not route.stream,
            )
        )
    return specs
