"""What a handler promises with its return annotation or ``response_model=``, kept: FastAPI's response model.

A return annotation that names a model decides which fields the client gets: ``-> PublicUser`` must not send the
password of the ``User`` that the handler returns. So a model is applied, with pydantic, as FastAPI does it, or the
application is refused. Annotations without a model (``-> dict[str, int]``) change nothing and are not checked.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Union

from oarlock.exceptions import LoadError
from oarlock.responses import JSONResponse, Response


def _is_response(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Response)


def _without_responses(annotation: Any) -> Any:
    """The union without Response classes: those are sent as they are."""
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    rest = [a for a in typing.get_args(annotation) if not _is_response(a)]
    return Union[tuple(rest)] if rest else None  # noqa: UP007  built from a list


def names_model(annotation: Any) -> bool:
    """Whether a pydantic model, a dataclass or a TypedDict stands anywhere in the annotation."""
    while isinstance(annotation, typing.TypeAliasType):
        annotation = annotation.__value__
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return names_model(typing.get_args(annotation)[0])
    for kind in (annotation, origin):
        if isinstance(kind, type) and (
            dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "__pydantic_serializer__")
        ):
            return True
    return any(names_model(a) for a in typing.get_args(annotation))


class ResponseModel:
    """Makes a response of what a handler returned: checked, and only the fields of the model."""

    def __init__(self, annotation: Any, response_class: type[Response] | None) -> None:
        from pydantic import TypeAdapter

        self._adapter: Any = TypeAdapter(annotation)
        self._response_class = response_class or JSONResponse
        self._name = getattr(annotation, "__name__", str(annotation))

    def __call__(self, value: Any, status_code: int) -> Response:
        """Called by the bridge in the place of a response class.

        Raises:
            TypeError: the value does not fit the model; the handler is wrong, and the client gets a 500.
        """
        try:
            checked = self._adapter.validate_python(value, from_attributes=True)
        except ValueError as exc:  # pydantic's ValidationError
            raise TypeError(f"what the handler returned does not fit its response model {self._name}: {exc}") from None
        return self._response_class(self._adapter.dump_python(checked, mode="json", by_alias=True), status_code)


def of(
    where: str, returned: Any, asked: Any, response_class: type[Response] | None, generator: bool
) -> Callable[[Any, int], Response] | None:
    """The response model of a route; None: it has none.

    Args:
        where: file, line and name of the handler, for messages.
        returned: the handler's return annotation.
        asked: the route's ``response_model``; ``...``: the annotation decides, None: there is no model.
        response_class: makes the response of the model's fields; None: JSON.
        generator: the handler is a generator, which gives bytes and text.

    Raises:
        LoadError: the model cannot be applied.
    """
    annotation = _without_responses(returned if asked is ... else asked)
    if annotation is None or (asked is ... and not names_model(annotation)):
        return None
    way_out = "give the route response_model=None to send what the handler returns"
    name = getattr(annotation, "__name__", annotation)
    if generator:
        raise LoadError(f"{where} is a generator, which gives bytes and text, not the model {name}; {way_out}")
    try:
        return ResponseModel(annotation, response_class)
    except ImportError:
        raise LoadError(
            f"{where} answers with the model {name}, whose fields are chosen with pydantic, which is not installed; "
            f"install pydantic, or {way_out}"
        ) from None
    except Exception as exc:  # pydantic has its own for types that it cannot describe
        reason = str(exc).partition("\n")[0]
        raise LoadError(f"{where} answers with {name}, which pydantic cannot apply: {reason}; {way_out}") from None
