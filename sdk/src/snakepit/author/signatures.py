"""A Python signature as a schema and a decoder: msgspec does both in one. Pure."""

from __future__ import annotations

import contextlib
import inspect
import keyword
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from snakepit._values import pydantic_types
from snakepit._values.coercion import decode_hook, is_table
from snakepit.author import schemas
from snakepit.author.context import AsyncContext, Context

_STREAMS = frozenset({Iterator, Generator, AsyncIterator, AsyncGenerator})
_IMMUTABLE = (str, int, float, bool, bytes, type(None))


class Signature(msgspec.Struct, frozen=True):
    """`arguments` is a class made for this tool; `context` names the keyword that takes the context, "" where there is none.

    `tables`: there are parameters for whole tables, of one library or another.
    """

    arguments: type[Any]
    decoder: msgspec.json.Decoder[Any]
    names: tuple[str, ...]
    input_schema: str
    output_schema: str
    streaming: bool
    asynchronous: bool
    context: str
    async_context: bool
    tables: bool = False


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
    _check_self(function, hints)
    parameters = inspect.signature(function).parameters.values()
    contexts = [each for each in parameters if _is_context(each, hints)]
    taken = [_field(each, hints) for each in parameters if each not in contexts]
    if len(contexts) > 1:
        raise TypeError(f"parameters {contexts[0].name!r} and {contexts[1].name!r} both take the context; one is enough")
    arguments, decoder, schema = _understood(taken)
    asynchronous = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    context = contexts[0] if contexts else None
    return Signature(
        arguments=arguments,
        decoder=decoder,
        names=tuple(each.name for each in taken),
        input_schema=schema,
        output_schema=_output_schema(hints.get("return", inspect.Signature.empty)),
        streaming=is_streaming(function, hints.get("return")),
        asynchronous=asynchronous,
        context=context.name if context else "",
        async_context=context is not None and _wants_async(hints.get(context.name), asynchronous),
        tables=any(_holds_table(each.annotation) for each in taken),
    )


def _check_self(function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
    """Raises TypeError for a method without `self`: Python would pass the adapter as its first argument, which callers mean to give."""
    if not inspect.ismethod(function) or inspect.isclass(function.__self__):
        return
    first = next(iter(inspect.signature(function.__func__).parameters.values()), None)
    if first is None or (first.name != "self" and first.name in hints and first.kind is not first.VAR_POSITIONAL):
        found = f"this one's is {first.name!r}" if first else "this one has none"
        raise TypeError(f"the first parameter of a method is `self`, and {found}: write `self` there, or make it a @staticmethod")


def _understood(fields: list[_Field]) -> tuple[type[Any], msgspec.json.Decoder[Any], str]:
    """Raises TypeError with the parameter's name: alone, each is looked at only where all together fail."""
    try:
        arguments = msgspec.defstruct("Arguments", [each.of_struct() for each in fields], kw_only=True, forbid_unknown_fields=True)
        return arguments, msgspec.json.Decoder(arguments, dec_hook=decode_hook), schemas.of_arguments(arguments, _defaults(fields))
    except TypeError as error:
        if len(fields) == 1:
            raise _about(fields[0].name, error) from error
        for each in fields:
            _understood([each])
        raise


def _about(name: str, error: TypeError) -> TypeError:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TypeError(
        f"parameter {name!r} {text}" if isinstance(error, schemas.Unreachable) else f"parameter {name!r} can't be offered: {text}"
    )


def _holds_table(annotation: Any) -> bool:
    return is_table(annotation) or any(_holds_table(each) for each in typing.get_args(annotation))


def context_of_hook(hook: Callable[..., Any]) -> type[Context] | type[AsyncContext] | None:
    """The context that `on_session_start` takes; None: the session's id."""
    first = next(iter(inspect.signature(hook).parameters.values()), None)
    if first is None or not _is_context(first, hints := _hints(hook)):
        return None
    return AsyncContext if _wants_async(hints.get(first.name), inspect.iscoroutinefunction(hook)) else Context


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    target = getattr(target, "__func__", target)
    with contextlib.suppress(NameError):
        return typing.get_type_hints(target, include_extras=True)
    without_return = {name: each for name, each in target.__annotations__.items() if name != "return"}
    try:
        return typing.get_type_hints(SimpleNamespace(__annotations__=without_return), target.__globals__, include_extras=True)
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


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> _Field:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise TypeError(f"parameter {stars + name!r} can't be offered: callers name every argument, so write each one out")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise TypeError(f"parameter {name!r} is positional-only: callers name every argument, so move the '/' away")
    if keyword.iskeyword(name):
        raise TypeError(f"parameter {name!r} is a keyword of Python")
    try:
        annotation, default = pydantic_types.read(_known(hints.get(name, Any)), parameter.default)
    except TypeError as error:
        raise _about(name, error) from error
    return _Field(name, schemas.with_formats(annotation), default)


class _Field(NamedTuple):
    name: str
    annotation: Any
    default: Any

    def of_struct(self) -> tuple[str, Any, Any]:
        return self.name, self.annotation, _default(self.default)


def _known(annotation: Any) -> Any:
    """`object` says what `Any` says, and msgspec knows `Any`."""
    return Any if annotation is object else annotation


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return msgspec.NODEFAULT
    if isinstance(default, pydantic_types.Default):
        return msgspec.field(default_factory=default.make)
    if type(default) in _IMMUTABLE:
        return default
    return msgspec.field(default_factory=lambda: default)


def _defaults(fields: list[_Field]) -> dict[str, Any]:
    made = {each.name: each.default.make() if isinstance(each.default, pydantic_types.Default) else each.default for each in fields}
    return {name: default for name, default in made.items() if default is not inspect.Parameter.empty}


def _output_schema(annotation: Any) -> str:
    """Empty where the annotation is missing or can't be described: an output schema is a courtesy, never a reason to refuse a tool."""
    if annotation is inspect.Signature.empty:
        return ""
    item = streamed(annotation)
    try:
        return schemas.of_result(schemas.with_formats(_known(annotation if item is None else item), schemas.OF_RESULTS))
    except Exception:  # not swallowed: no schema says as much
        return ""


def streamed(annotation: Any) -> Any:
    """The type of a stream's items; None where the annotation is not that of a stream."""
    if typing.get_origin(annotation) not in _STREAMS:
        return None
    items = typing.get_args(annotation)
    return items[0] if items else Any


def is_streaming(function: Callable[..., Any], annotation: Any) -> bool:
    """Whether the function gives a stream: it is a generator, or its annotation says that it returns an iterator."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return True
    return streamed(annotation) is not None
