"""A Python signature as a schema and a decoder: msgspec does both in one. Pure."""

from __future__ import annotations

import collections.abc
import inspect
import keyword
import typing
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from snakepit.context import AsyncContext, Context

_STREAMS = frozenset(
    {
        collections.abc.Iterator,
        collections.abc.Generator,
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
    }
)
_IMMUTABLE = (str, int, float, bool, bytes, type(None), tuple)


class Signature(msgspec.Struct, frozen=True):
    """`arguments` is a class made for this tool; `context` names the keyword that takes the context, "" where there is none."""

    arguments: type[Any]
    decoder: msgspec.json.Decoder[Any]
    names: tuple[str, ...]
    input_schema: str
    output_schema: str
    streaming: bool
    asynchronous: bool
    context: str
    async_context: bool


_read: WeakKeyDictionary[FunctionType, dict[bool, Signature]] = WeakKeyDictionary()
"""By function, bound to an instance or not: what was read before a process is forked is read for all its children."""


def read_signature(function: Callable[..., Any]) -> Signature:
    """Raises TypeError with a sentence that names the parameter which can't be offered."""
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        return _read_anew(function)
    known, bound = _read.setdefault(plain, {}), plain is not function
    if bound not in known:
        known[bound] = _read_anew(function)
    return known[bound]


def _read_anew(function: Callable[..., Any]) -> Signature:
    hints = _hints(function)
    parameters = inspect.signature(function).parameters.values()
    contexts = [each for each in parameters if _is_context(each, hints)]
    taken = [_field(each, hints) for each in parameters if each not in contexts]
    if len(contexts) > 1:
        raise TypeError(f"parameters {contexts[0].name!r} and {contexts[1].name!r} both take the context; one is enough")
    arguments = msgspec.defstruct("Arguments", taken, kw_only=True, forbid_unknown_fields=True)
    asynchronous = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    context = contexts[0] if contexts else None
    return Signature(
        arguments=arguments,
        decoder=_decoder(arguments),
        names=tuple(name for name, *_ in taken),
        input_schema=_input_schema(arguments),
        output_schema=_output_schema(hints.get("return", inspect.Signature.empty)),
        streaming=_is_streaming(function, hints.get("return")),
        asynchronous=asynchronous,
        context=context.name if context else "",
        async_context=context is not None and _wants_async(hints.get(context.name), asynchronous),
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    target = getattr(target, "__func__", target)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError:
        without_return = {name: each for name, each in target.__annotations__.items() if name != "return"}
        return _parameter_hints(without_return, target.__globals__)


def _parameter_hints(annotations: dict[str, Any], module: dict[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(SimpleNamespace(__annotations__=annotations), module, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"an annotation can't be resolved: {error}; import it where it exists at run time, not under TYPE_CHECKING"
        ) from error


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    annotation = hints.get(parameter.name)
    if annotation is None:
        return parameter.name == "ctx" and parameter.annotation is inspect.Parameter.empty
    return annotation in (Context, AsyncContext)


def _wants_async(annotation: Any, asynchronous: bool) -> bool:
    return annotation is AsyncContext if annotation is not None else asynchronous


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[str, Any, Any]:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise TypeError(f"parameter {stars + name!r} can't be offered: callers name every argument, so write each one out")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise TypeError(f"parameter {name!r} is positional-only: callers name every argument, so move the '/' away")
    if keyword.iskeyword(name):
        raise TypeError(f"parameter {name!r} is a keyword of Python")
    return name, _known(hints.get(name, Any)), _default(parameter.default)


def _known(annotation: Any) -> Any:
    """`object` says what `Any` says, and msgspec knows `Any`."""
    return Any if annotation is object else annotation


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return msgspec.NODEFAULT
    if isinstance(default, _IMMUTABLE):
        return default
    return msgspec.field(default_factory=lambda: default)


def _decoder(arguments: type[Any]) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(arguments, dec_hook=decode_hook)
    except TypeError as error:
        raise TypeError(f"its parameters' types can't be told apart in JSON: {str(error).splitlines()[0]}") from error


def decode_hook(kind: type[Any], value: Any) -> Any:
    """Types that msgspec doesn't know: numpy arrays from lists, pydantic models from objects, instances as they are."""
    kind = typing.get_origin(kind) or kind
    if isinstance(value, kind):
        return value
    validate = getattr(kind, "model_validate", None)
    if callable(validate):
        return _validated(validate, value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        import numpy

        return numpy.asarray(value)
    raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _validated(validate: Callable[[Any], Any], value: Any) -> Any:
    """pydantic's paragraph as one sentence."""
    try:
        return validate(value)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if not callable(errors):
            raise
        raise ValueError("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors())) from error


def _schema_hook(kind: type[Any]) -> dict[str, Any]:
    if kind is object:
        return {"description": "any value"}  # an empty schema would count as none
    describe = getattr(kind, "model_json_schema", None)
    if callable(describe):
        return dict(describe())
    kind = typing.get_origin(kind) or kind
    return {"description": f"{kind.__module__}.{kind.__qualname__}"}


def _input_schema(arguments: type[Any]) -> str:
    (schema,), components = msgspec.json.schema_components([arguments], schema_hook=_schema_hook, ref_template="#/$defs/{name}")
    root: dict[str, Any] = components.pop(schema["$ref"].rpartition("/")[2])
    root.pop("title", None)
    root.setdefault("properties", {})
    import json

    return json.dumps(root | ({"$defs": components} if components else {}))


def _output_schema(annotation: Any) -> str:
    """Empty where the annotation is missing or can't be described: an output schema is a courtesy, never a reason to refuse a tool."""
    if annotation is inspect.Signature.empty:
        return ""
    import json

    item = _streamed(annotation)
    try:
        return json.dumps(msgspec.json.schema(_known(annotation if item is None else item), schema_hook=_schema_hook))
    except TypeError:
        return ""


def _streamed(annotation: Any) -> Any:
    """The type of a stream's items; None: not a stream."""
    if typing.get_origin(annotation) not in _STREAMS:
        return None
    items = typing.get_args(annotation)
    return items[0] if items else Any


def _is_streaming(function: Callable[..., Any], annotation: Any) -> bool:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return True
    return _streamed(annotation) is not None
