"""What is read off an author's `Adapter` and `@tool`s: names, schemas, and how arguments are decoded.

It never runs a tool and knows no process: the worker and the test harness do.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MethodType, ModuleType
from typing import Any

import msgspec

from snakepit._ipc.frames import Payload, ToolInfo
from snakepit._names import check_tool
from snakepit._values import payloads, strings
from snakepit._values.coercion import decode_hook
from snakepit.author import loading
from snakepit.author.adapter import MARK, Adapter, AdapterError, Mark
from snakepit.author.signatures import Signature, read_signature
from snakepit.errors import InvalidArguments


class Tool:
    """One tool of a living adapter: callable with keyword arguments, described by `info`."""

    def __init__(self, function: Callable[..., Any], mark: Mark) -> None:
        self.function = function
        self.name = _checked_name(mark.name or function.__name__)
        self.signature: Signature = _read(self.name, function)
        self.streaming = self.signature.streaming
        self.info = ToolInfo(
            name=self.name,
            description=strings.readable(mark.description if mark.description is not None else inspect.getdoc(function) or ""),
            input_schema=self.signature.input_schema,
            output_schema=self.signature.output_schema,
            streaming=self.streaming,
            idempotent=mark.idempotent,
            timeout_seconds=mark.timeout or 0.0,
        )

    def decode(self, arguments: Payload, *, trusted: bool = False) -> dict[str, Any]:
        """Keyword arguments, validated. `trusted`: pickle is read too. Raises InvalidArguments with the argument's name."""
        try:
            if not arguments.attachments and arguments.content_type in payloads.PLAIN_JSON and payloads.MARKED_FLOAT not in arguments.data:
                return msgspec.structs.asdict(self.signature.decoder.decode(arguments.data or b"{}"))
            return self._converted(payloads.decode(arguments, trusted=trusted, tables=not self.signature.tables), arguments)
        except msgspec.ValidationError:
            return self._converted(msgspec.json.decode(arguments.data or b"{}"), arguments)  # which says more when looked at twice
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = strings.why_unreadable(arguments.data, error)
            raise InvalidArguments(f"the arguments are not {arguments.content_type}: {why}") from error
        except RecursionError as error:
            raise InvalidArguments("the arguments are nested too deeply") from error
        except InvalidArguments:
            raise
        except Exception as error:  # of the author's own types, e.g. in a __post_init__
            raise InvalidArguments(f"the arguments were refused: {type(error).__name__}: {error}") from error

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


def _read(name: str, function: Callable[..., Any]) -> Signature:
    try:
        return read_signature(function)
    except TypeError as error:
        raise AdapterError(f"tool {name!r}: {error}") from error


def _checked_name(name: str) -> str:
    try:
        return check_tool(name)
    except InvalidArguments as error:
        raise AdapterError(f"{error}; give another with @tool(name=...)") from error


# ---- from `worker.adapter` to tools


class ModuleAdapter(Adapter):
    """A bare module as an adapter: its own `@tool` functions; a module variable `thread_safe = True` is heeded."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """Those defined in the module, not imported into it."""
        return [each for each in vars(self.module).values() if getattr(each, "__module__", None) == self.module.__name__]


def load(path: str) -> Callable[[], Adapter]:
    """`package.module:Class` or `package.module` as a maker of adapters.

    Raises AdapterError where the path names no adapter, and whatever the author's module raises at its import.
    """
    return loading.load(path, ModuleAdapter)


def is_async(factory: Callable[[], Adapter]) -> bool:
    """Whether what `load` gave has anything that runs in a loop."""
    functions = [getattr(factory, name) for name in dir(factory)] if inspect.isclass(factory) else _functions_of(factory())
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in functions)


def _functions_of(adapter: Adapter) -> list[Callable[..., Any]]:
    return adapter.functions if isinstance(adapter, ModuleAdapter) else []


def discover(adapter: Adapter) -> Mapping[str, Tool]:
    """The adapter's tools by name. Raises AdapterError."""
    tools: dict[str, Tool] = {}
    for function, mark in _marked(adapter):
        each = Tool(function, mark)
        if each.name in tools:
            raise AdapterError(f"two tools of {_title(adapter)} are named {each.name!r}: give one another name with @tool(name=...)")
        tools[each.name] = each
    if not tools:
        raise AdapterError(f"{_title(adapter)} has no tools: mark at least one method or function with @tool")
    return tools


def read_ahead(factory: Callable[[], Adapter]) -> None:
    """Read what `discover` will want to know of the factory's adapters, without making one. What is wrong, `discover` will say."""
    if inspect.isclass(factory):
        marked: list[Any] = [each for name in dir(factory) if hasattr(each := getattr(factory, name, None), MARK)]
        methods = [MethodType(each, factory) if inspect.isfunction(each) else each for each in marked]
    else:
        methods = [each for each, _ in _marked(factory())]
    for each in methods:
        with contextlib.suppress(Exception):
            read_signature(each)


def describe(adapter: Adapter) -> str:
    """What the catalogue shows of the adapter: its docstring."""
    documented = adapter.module if isinstance(adapter, ModuleAdapter) else type(adapter)
    return inspect.cleandoc(documented.__doc__ or "")


def is_thread_safe(adapter: Adapter) -> bool:
    """Whether the author says that tools may run at the same time."""
    said = getattr(adapter.module, "thread_safe", False) if isinstance(adapter, ModuleAdapter) else adapter.thread_safe
    return bool(said)


def _marked(adapter: Adapter) -> Iterator[tuple[Callable[..., Any], Mark]]:
    if isinstance(adapter, ModuleAdapter):
        candidates: list[Any] = adapter.functions
    else:
        candidates = [getattr(adapter, name) for name in dir(type(adapter)) if hasattr(getattr(type(adapter), name, None), MARK)]
    for each in candidates:
        mark = getattr(each, MARK, None)
        if isinstance(mark, Mark):
            yield each, mark


def _title(adapter: Adapter) -> str:
    return f"module {adapter.module.__name__!r}" if isinstance(adapter, ModuleAdapter) else f"adapter {type(adapter).__name__}"
