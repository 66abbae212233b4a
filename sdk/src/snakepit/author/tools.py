"""What is read off an author's `Adapter` and `@tool`s: names, schemas, and how arguments are decoded.

It never runs a tool and knows no process: the worker and the test harness do.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import msgspec

from snakepit._ipc.frames import Payload, ToolInfo
from snakepit._names import check_tool
from snakepit._values import payloads, strings
from snakepit._values.coercion import decode_hook
from snakepit.author.adapter import MARK, Adapter, AdapterError, Mark
from snakepit.author.signatures import Signature, read_signature
from snakepit.errors import InvalidArguments


class Tool:
    """One tool of a living adapter: callable with keyword arguments, described by `info`."""

    def __init__(self, function: Callable[..., Any], mark: Mark) -> None:
        self.function = function
        try:
            self.name = check_tool(mark.name or function.__name__)
            self.signature: Signature = read_signature(function)
        except InvalidArguments as error:
            raise AdapterError(f"{error}; give another with @tool(name=...)") from error
        except TypeError as error:
            raise AdapterError(f"tool {self.name!r}: {error}") from error
        self.streaming = self.signature.streaming
        self.info = ToolInfo(
            name=self.name,
            description=strings.readable(mark.description if mark.description is not None else inspect.getdoc(function) or ""),
            input_schema=self.signature.input_schema,
            output_schema=self.signature.output_schema,
            streaming=self.streaming,
            idempotent=mark.idempotent,
            timeout_seconds=mark.timeout or 0.0,
            title=strings.readable(mark.title),
            read_only=mark.read_only,
            destructive=mark.destructive,
        )

    def decode(self, arguments: Payload, *, trusted: bool = False) -> dict[str, Any]:
        """Keyword arguments, validated. `trusted`: pickle is read too. Raises InvalidArguments with the argument's name."""
        try:
            return self._decoded(arguments, trusted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = strings.why_unreadable(arguments.data, error)
            raise InvalidArguments(f"the arguments are not {arguments.content_type}: {why}") from error
        except RecursionError as error:
            raise InvalidArguments("the arguments are nested too deeply") from error
        except InvalidArguments:
            raise
        except Exception as error:  # of the author's own types, e.g. in a __post_init__
            raise InvalidArguments(f"the arguments were refused: {type(error).__name__}: {error}") from error

    def _decoded(self, arguments: Payload, trusted: bool) -> dict[str, Any]:
        if arguments.attachments or arguments.content_type not in payloads.PLAIN_JSON or payloads.has_marked_floats(arguments.data):
            return self._converted(payloads.decode(arguments, trusted=trusted, tables=not self.signature.tables), arguments)
        try:
            return msgspec.structs.asdict(self.signature.decoder.decode(arguments.data or b"{}"))
        except msgspec.ValidationError:
            return self._converted(msgspec.json.decode(arguments.data or b"{}"), arguments)  # which says more when looked at twice

    def _converted(self, values: Any, arguments: Payload) -> dict[str, Any]:
        signature, str_keys = self.signature, arguments.content_type != payloads.PICKLE

        def convert(values: Any) -> Any:
            return msgspec.convert(values, signature.arguments, dec_hook=decode_hook, str_keys=str_keys)

        try:
            found = convert(values)
        except msgspec.ValidationError as error:
            from snakepit.author import argument_errors  # what most workers never need isn't imported by all

            found = argument_errors.second_look(error, values, convert, signature.names, signature.input_schema)
        taken = msgspec.structs.asdict(found)
        if not signature.tables:
            return taken
        from snakepit._values.tables import settled

        return {name: settled(each) for name, each in taken.items()}


def as_tool(function: Callable[..., Any]) -> Tool:
    """Any function as a tool, marked or not. Raises AdapterError."""
    mark = getattr(function, MARK, None)
    if not callable(function) or inspect.isclass(function):
        raise AdapterError(f"{function!r} can't be offered as a tool: give a function")
    return Tool(function, mark if isinstance(mark, Mark) else Mark())


# ---- of an adapter


def is_async(adapter: type[Adapter]) -> bool:
    """Whether it has anything that runs in a loop."""
    functions = [getattr(adapter, name) for name in dir(adapter)]
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in functions)


def discover(adapter: Adapter) -> Mapping[str, Tool]:
    """The adapter's tools by name. Raises AdapterError."""
    tools: dict[str, Tool] = {}
    title = f"adapter {type(adapter).__name__}"
    for name in _marked(type(adapter)):
        function = getattr(adapter, name)
        each = Tool(function, getattr(function, MARK))
        if each.name in tools:
            raise AdapterError(f"two tools of {title} are named {each.name!r}: give one another name with @tool(name=...)")
        tools[each.name] = each
    if not tools:
        raise AdapterError(f"{title} has no tools: mark at least one method or function with @tool")
    return tools


def read_ahead(adapter: type[Adapter]) -> None:
    """Read what `discover` will want to know of its instances, without making one. What is wrong, `discover` will say."""
    for name in _marked(adapter):
        is_method = inspect.isfunction(inspect.getattr_static(adapter, name))
        with contextlib.suppress(Exception):
            read_signature(MethodType(getattr(adapter, name), adapter) if is_method else getattr(adapter, name))


def describe(adapter: Adapter) -> str:
    """What the catalogue shows of the adapter: its docstring."""
    return inspect.cleandoc(type(adapter).__doc__ or "")


def _marked(adapter: type[Adapter]) -> list[str]:
    return [name for name in dir(adapter) if isinstance(getattr(getattr(adapter, name, None), MARK, None), Mark)]
