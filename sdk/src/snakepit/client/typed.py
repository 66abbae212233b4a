"""Calls through the signatures of a class: an adapter's own, or one that `snakepit tools POOL --stubs` has written.

It only reads the class: arguments become a mapping, results what the signature says. Who waits, and how, is the caller's.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import msgspec

from snakepit._names import check_tool, nearest
from snakepit._values.coercion import decode_hook
from snakepit.author.adapter import MARK, Adapter, Mark
from snakepit.author.context import AsyncContext, Context
from snakepit.author.signatures import is_streaming, streamed
from snakepit.errors import InvalidArguments, SnakepitError, Started

OMITTED: Any = object()
"""The default of a parameter in a stub: it isn't sent, so the tool's own default counts."""


class Method:
    """One tool, as the class writes it. Raises AttributeError where the class has none of that name."""

    def __init__(self, kind: type[Any], name: str) -> None:
        self.function = _function(kind, name)
        mark = getattr(self.function, MARK, None)
        self.tool = check_tool((mark.name if isinstance(mark, Mark) else None) or self.function.__name__)
        self._where = f"{kind.__name__}.{name}"
        hints = typing.get_type_hints(self.function, include_extras=True)
        returns = hints.get("return", Any)
        self.streaming = is_streaming(self.function, returns)
        item = streamed(returns)
        self._result = returns if item is None else item
        self._signature = inspect.signature(self.function)
        self._contexts = [each for each in self._signature.parameters if hints.get(each) in (Context, AsyncContext)]

    def arguments(self, positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """By name. Raises TypeError as the function itself would."""
        own = [each for each in self._signature.parameters.values() if each.name not in self._contexts]
        try:
            bound = self._signature.replace(parameters=own).bind(None, *positional, **keywords).arguments
        except TypeError as error:
            raise TypeError(f"{self._where}: {error}") from None
        return {name: value for name, value in list(bound.items())[1:] if value is not OMITTED}

    def result(self, value: Any) -> Any:
        """As its annotation says. Raises SnakepitError for what is not: then class and pool are of different versions."""
        if self._result in (Any, object, None):
            return value
        try:
            return msgspec.convert(value, self._result, dec_hook=decode_hook, str_keys=True)
        except msgspec.ValidationError as error:
            message = f"the result of tool {self.tool!r} is not what {self._where} says ({error}): is the pool's code of another version?"
            raise SnakepitError(message, started=Started.YES) from error


def _function(kind: type[Any], name: str) -> Callable[..., Any]:
    found = inspect.getattr_static(kind, name, None)
    found = getattr(found, "__func__", found)
    is_tool = inspect.isfunction(found) and (hasattr(found, MARK) or not issubclass(kind, Adapter))
    if name.startswith("_") or not is_tool:
        known = [each for each in dir(kind) if not each.startswith("_") and each != name and hasattr(getattr(kind, each, None), "__code__")]
        meant = nearest(name, known)
        raise AttributeError(f"{kind.__name__} has no tool {name!r}{f': did you mean {meant[0]!r}?' if meant else ''}")
    return typing.cast("Callable[..., Any]", found)


class Handle:
    """Has the class's methods. `invoke` makes the call: of the method, with its arguments."""

    def __init__(self, kind: type[Any], invoke: Callable[[Method, dict[str, Any]], Any], where: object) -> None:
        if not isinstance(kind, type):
            raise InvalidArguments(f"typed() takes an Adapter class, or one that `snakepit tools POOL --stubs` has written, not {kind!r}")
        self._kind = kind
        self._invoke = invoke
        self._where = where

    def __repr__(self) -> str:
        return f"{self._where!r}.typed({self._kind.__name__})"

    def __dir__(self) -> list[str]:
        return dir(self._kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = Method(self._kind, name)

        @wraps(method.function)
        def call(*positional: Any, **keywords: Any) -> Any:
            return self._invoke(method, method.arguments(positional, keywords))

        vars(self)[name] = call
        return call
