"""What pydantic's users write into signatures: `Field(default=3, ge=0)`, constraints in `Annotated`, pydantic's dataclasses. Pure.

msgspec would pass over them in silence, so such a parameter is read by pydantic as a whole. Where nobody has imported pydantic, none of
this costs anything.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

_ADAPTER = "__snakepit_adapter__"
_OURS = ("pydantic", "pydantic_core", "annotated_types")


class Default(typing.NamedTuple):
    """A default that is made anew for each call."""

    make: Callable[[], Any]


def adapter_of(kind: Any) -> Any:
    """The TypeAdapter behind a type that `read` has made; None: it is another."""
    return getattr(kind, _ADAPTER, None)


def read(annotation: Any, default: Any) -> tuple[Any, Any]:
    """An annotation and a default as msgspec and we understand them. Raises TypeError with what to change."""
    if not any(name in sys.modules for name in _OURS):
        return annotation, default
    if _is_field(default):
        annotation = Annotated[annotation, default]
    for field in [each for each in _metadata(annotation) if _is_field(each)]:
        if field.alias is not None or field.validation_alias is not None:
            raise TypeError("pydantic's alias is no name of a parameter: rename the parameter")
        if default is inspect.Parameter.empty or default is field:
            default = _default_of(field)
    return (_adapted(annotation), default) if _is_for_pydantic(annotation, set()) else (annotation, default)


def schema_of(kind: Any, mode: str) -> dict[str, Any]:
    """Of a model, or of a type that `read` has made. What has no JSON of pydantic's, such as a table, is any value in it."""
    from pydantic.json_schema import GenerateJsonSchema

    class Forgiving(GenerateJsonSchema):
        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
            return {}

    adapter = adapter_of(kind)
    describe = kind.model_json_schema if adapter is None else adapter.json_schema
    return dict(describe(mode=mode, schema_generator=Forgiving))


def validated(validate: Callable[[Any], Any], value: Any) -> Any:
    """pydantic's paragraph as one sentence."""
    try:
        return validate(value)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if not callable(errors):
            raise
        raise ValueError("; ".join(map(_sentence, errors()))) from error


def _sentence(error: dict[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def _adapted(annotation: Any) -> Any:
    """A type of ours in the annotation's place, so that msgspec leaves the value to `decode_hook`."""
    if any(isinstance(each, msgspec.Meta) for each in _metadata(annotation)):
        raise TypeError("limits of pydantic and of msgspec.Meta can't be mixed in one annotation: use one of them")
    try:
        import pydantic

        adapter = pydantic.TypeAdapter(annotation)
    except ImportError:
        raise TypeError("limits of annotated_types are heeded only where pydantic is installed: use msgspec.Meta") from None
    except Exception as error:
        raise TypeError(f"pydantic can't read its annotation: {str(error).splitlines()[0]}") from error
    return _Anything("Validated", (), {_ADAPTER: adapter})


class _Anything(type):
    """msgspec asks whether what it got is an instance of what it asked for."""

    def __instancecheck__(cls, value: Any) -> bool:
        return True


def _default_of(field: Any) -> Any:
    if field.default_factory is not None:
        return Default(field.default_factory)
    return inspect.Parameter.empty if field.is_required() else field.default


def _is_field(value: Any) -> bool:
    return type(value).__name__ == "FieldInfo" and type(value).__module__.startswith("pydantic.")


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return annotation.__metadata__ if typing.get_origin(annotation) is Annotated else ()


def _is_for_pydantic(annotation: Any, seen: set[Any]) -> bool:
    """Whether msgspec would overlook something of pydantic's in it, or can't tell its models apart."""
    if any(type(each).__module__.partition(".")[0] in _OURS for each in _metadata(annotation)):
        return True
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        others = [each for each in parts if each is not type(None)]
        if len(others) > 1 and any(_is_model(each) for each in others):
            return True
    return _is_kind_of_pydantic(annotation) or any(_is_for_pydantic(each, seen) for each in (*parts, *_fields(annotation, seen)))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and callable(getattr(kind, "model_validate", None))


def _is_kind_of_pydantic(kind: Any) -> bool:
    """Its dataclasses, and types such as HttpUrl. Its models have a validation of their own, which msgspec leaves to us."""
    if not isinstance(kind, type) or _is_model(kind):
        return False
    return hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__")


def _fields(kind: Any, seen: set[Any]) -> Iterator[Any]:
    """The annotations of what a dataclass, a TypedDict or a named tuple holds."""
    if not isinstance(kind, type) or kind in seen:
        return
    seen.add(kind)
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "_fields"):
        try:
            yield from typing.get_type_hints(kind, include_extras=True).values()
        except NameError:  # msgspec will say which
            return
