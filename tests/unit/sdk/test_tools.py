"""What is read off an author's class: names, schemas, arguments."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import msgspec
import numpy
import pydantic
import pytest

from snakepit import Adapter, AdapterError, AsyncContext, Attachment, Context, InvalidArguments, tool
from snakepit._values import payloads
from snakepit._wire.messages import tool_to_wire
from snakepit.author.loading import load
from snakepit.author.tools import as_tool, describe, discover
from snakepit.client import views

if TYPE_CHECKING:
    from nowhere import Missing


@dataclasses.dataclass
class Box:
    width: int
    height: int = 1


class Options(TypedDict, total=False):
    mode: Literal["a", "b"]


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(gt=0)


class Everything(Adapter):
    """All kinds of parameters.

    And a second paragraph.
    """

    @tool
    def plain(self, image: list[float], limit: Annotated[int, msgspec.Meta(ge=1)] = 3, tags: list[str] = []) -> int:  # noqa: B006
        """Which digit?"""
        return len(image) + limit

    @tool
    def boxes(self, box: Box, options: Options, *, ctx: Context) -> Box:
        return box

    @tool
    def model(self, model: Model) -> Model:
        return model

    @tool
    def array(self, values: numpy.ndarray[Any, Any]) -> float:
        return float(values.sum())

    @tool
    def raw(self, data: bytes) -> int:
        return len(data)

    @tool
    def bare(self, value, *, ctx):  # type: ignore[no-untyped-def]
        return value

    @tool
    async def later(self, *, context: AsyncContext) -> None: ...

    @tool
    def numbers(self) -> Iterator[int]:
        yield 1

    @tool
    def built(self) -> Iterator[int]:
        return iter([1])

    @tool(name="other-name", description="Said.", timeout=2.5, idempotent=True, title="Other", destructive=False)
    def named(self) -> None: ...

    @staticmethod
    @tool
    def static(value: int) -> int:
        return value


TOOLS = discover(Everything())


def decode(name: str, arguments: Any) -> dict[str, Any]:
    return TOOLS[name].decode(payloads.encode(arguments))


def test_the_schema_comes_from_the_signature() -> None:
    schema = json.loads(TOOLS["plain"].info.input_schema)
    assert schema == {
        "type": "object",
        "properties": {
            "image": {"type": "array", "items": {"type": "number"}},
            "limit": {"type": "integer", "minimum": 1, "default": 3},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["image"],
        "additionalProperties": False,
    }
    assert TOOLS["plain"].info.description == "Which digit?"
    assert json.loads(TOOLS["plain"].info.output_schema) == {"type": "integer"}


def test_named_types_are_in_the_schemas_definitions() -> None:
    schema = json.loads(TOOLS["boxes"].info.input_schema)
    assert schema["properties"]["box"] == {"$ref": "#/$defs/Box"}
    assert set(schema["$defs"]) == {"Box", "Options"}
    assert json.loads(TOOLS["model"].info.input_schema)["properties"]["model"]["properties"]["size"]["exclusiveMinimum"] == 0


def test_the_context_is_no_argument_whatever_it_is_called() -> None:
    assert (TOOLS["boxes"].signature.context, TOOLS["boxes"].signature.async_context) == ("ctx", False)
    assert (TOOLS["bare"].signature.context, TOOLS["bare"].signature.async_context) == ("ctx", False)
    assert (TOOLS["later"].signature.context, TOOLS["later"].signature.async_context) == ("context", True)
    assert json.loads(TOOLS["bare"].info.input_schema)["required"] == ["value"]


def test_generators_and_functions_that_return_iterators_stream() -> None:
    assert {name for name, each in TOOLS.items() if each.streaming} == {"numbers", "built"}


def test_what_the_decorator_says_is_in_the_catalogue() -> None:
    info = TOOLS["other-name"].info
    assert (info.description, info.timeout_seconds, info.idempotent) == ("Said.", 2.5, True)
    assert (info.title, info.read_only, info.destructive) == ("Other", False, False)
    assert views.tool_info(tool_to_wire(info)).destructive is False
    assert views.tool_info(tool_to_wire(TOOLS["plain"].info)).destructive is None
    assert describe(Everything()) == "All kinds of parameters.\n\nAnd a second paragraph."


def test_a_tool_that_changes_nothing_destroys_nothing() -> None:
    with pytest.raises(ValueError, match="read_only=True changes nothing"):
        tool(read_only=True, destructive=True)


def test_a_file_as_a_result_is_described_as_bytes() -> None:
    def render() -> Attachment | None: ...

    schema = json.loads(as_tool(render).info.output_schema)
    assert schema == {"anyOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "null"}]}


@dataclasses.dataclass
class Page:
    chart: Attachment


def test_a_file_within_a_result_is_described_as_bytes_too() -> None:
    def render() -> Page: ...

    schema = json.loads(as_tool(render).info.output_schema)
    assert schema["$defs"]["Page"]["properties"]["chart"] == {"$ref": "#/$defs/Attachment"}
    assert (schema["$defs"]["Attachment"]["type"], schema["$defs"]["Attachment"]["contentEncoding"]) == ("string", "base64")


def test_a_tool_stays_an_ordinary_callable() -> None:
    assert Everything().plain([1.0]) == 4
    assert Everything.static(2) == 2


def test_arguments_arrive_typed_with_defaults_that_are_not_shared() -> None:
    first = decode("plain", {"image": [1, 2]})
    assert first == {"image": [1.0, 2.0], "limit": 3, "tags": []}
    assert decode("boxes", {"box": {"width": 2}, "options": {"mode": "a"}}) == {"box": Box(2), "options": {"mode": "a"}}
    assert decode("model", {"model": {"size": 2}}) == {"model": Model(size=2)}


def test_arrays_and_bytes_arrive_from_attachments_and_from_plain_json() -> None:
    assert decode("array", {"values": numpy.arange(3)})["values"].sum() == 3
    assert decode("array", {"values": [1, 2]})["values"].sum() == 3
    assert decode("raw", {"data": b"abc"}) == {"data": b"abc"}
    assert decode("raw", {"data": "YWJj"}) == {"data": b"abc"}


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("plain", {"image": [1, "x"]}, "argument `image`: Expected `float`, got `str` - at `[1]`"),
        ("plain", {"image": [], "limit": 0}, "argument `limit`: Expected `int` >= 1"),
        ("plain", {}, "argument `image` is missing"),
        ("plain", {"image": [], "imag": 1}, "argument `imag` is unknown to this tool; did you mean `image`?"),
        ("raw", {"data": "YQ==", "zzz": 1}, "argument `zzz` is unknown to this tool; it takes `data`"),
        ("numbers", {"zzz": 1}, "argument `zzz` is unknown to this tool; it takes none"),
        ("boxes", {"box": {"width": "x"}, "options": {}}, "argument `box`: Expected `int`, got `str` - at `.width`"),
        (
            "boxes",
            {"box": {"width": 1}, "options": {"mode": "c"}},
            "argument `options`: Invalid enum value 'c' - at `.mode`; it takes 'a', 'b'",
        ),
        ("plain", 3, "the arguments must be an object of names and values: Expected `object`, got `int`"),
        ("raw", {"data": [b"x"]}, "argument `data`: Expected `bytes`, got `array`"),
    ],
)
def test_a_validation_error_names_the_argument(name: str, arguments: Any, sentence: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        decode(name, arguments)
    assert caught.value.message == sentence


def test_a_pydantic_error_names_the_argument_too() -> None:
    with pytest.raises(InvalidArguments, match="argument `model`: size: Input should be greater than 0"):
        decode("model", {"model": {"size": 0}})


def test_arguments_that_are_no_json_are_refused() -> None:
    with pytest.raises(InvalidArguments, match="the arguments are not application/json"):
        TOOLS["plain"].decode(msgspec.structs.replace(payloads.encode({}), data=b"{"))


def test_functions_can_be_decorated_below_and_above() -> None:
    def louder(function: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return function(*args, **kwargs) + "!"

        return wrapper

    class Wrapped(Adapter):
        @louder
        @tool
        def below(self, text: str) -> str:
            return text

    found = discover(Wrapped())["below"]
    assert found.function(**found.decode(payloads.encode({"text": "a"}))) == "a!"


class Duplicate(Adapter):
    @tool
    def one(self) -> None: ...

    @tool(name="one")
    def two(self) -> None: ...


class BadName(Adapter):
    @tool
    def Shout(self) -> None: ...  # noqa: N802


class Positional(Adapter):
    @tool
    def f(self, a: int, /) -> None: ...


class Keywords(Adapter):
    @tool
    def f(self, **rest: int) -> None: ...


class Unresolved(Adapter):
    @tool
    def f(self, a: Missing) -> None: ...


class TwoContexts(Adapter):
    @tool
    def f(self, *, a: Context, b: Context) -> None: ...


class Ambiguous(Adapter):
    @tool
    def f(self, a: list[int] | set[int]) -> None: ...


class Selfless(Adapter):
    @tool
    def f(name: str) -> str:  # type: ignore[misc]  # noqa: N805
        return name


class Bare(Adapter):
    @tool
    def f() -> str:  # type: ignore[misc]
        return ""


class Nothing(Adapter): ...


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        (Duplicate, "two tools of adapter Duplicate are named 'one'"),
        (BadName, "tool name 'Shout' must be 1 to 64 characters"),
        (Positional, "tool 'f': parameter 'a' is positional-only"),
        (Keywords, "tool 'f': parameter '**rest' can't be offered"),
        (Unresolved, "tool 'f': an annotation can't be resolved: name 'Missing' is not defined"),
        (TwoContexts, "tool 'f': parameters 'a' and 'b' both take the context"),
        (Ambiguous, "tool 'f': parameter 'a' can't be offered: Type unions may not contain more than one array-like"),
        (Selfless, "tool 'f': the first parameter of a method is `self`, and this one's is 'name': write `self` there"),
        (Bare, "tool 'f': the first parameter of a method is `self`, and this one has none: write `self` there"),
        (Nothing, "adapter Nothing has no tools: mark at least one method or function with @tool"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_an_adapter_that_can_not_be_offered_says_what_to_change(adapter: type[Adapter], sentence: str) -> None:
    with pytest.raises(AdapterError) as caught:
        discover(adapter())
    assert str(caught.value).startswith(sentence)


def test_whatever_stands_for_self_is_taken_for_it_unless_it_has_a_type() -> None:
    class Odd(Adapter):
        @tool
        def other(this, value: int) -> int:  # noqa: N805
            return value

        @classmethod
        @tool
        def of_class(cls: type[Adapter], value: int) -> int:
            return value

        @tool
        def typed(self: Any, value: int) -> int:
            return value

    assert {json.loads(each.info.input_schema)["required"] == ["value"] for each in discover(Odd()).values()} == {True}


def test_an_unresolved_return_annotation_is_forgiven() -> None:
    class Returns(Adapter):
        @tool
        def f(self, a: int) -> Missing: ...

    assert discover(Returns())["f"].info.output_schema == ""


def test_a_timeout_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        tool(timeout=0)


def test_a_path_names_a_class_or_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "an_adapter.py").write_text(
        '"""A module."""\nfrom snakepit import Adapter, tool\nfrom os.path import join\n'
        "@tool\ndef alone() -> int:\n    return 1\nclass One(Adapter):\n    @tool\n    def two(self) -> int:\n        return 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert list(discover(load("an_adapter")())) == ["alone"]
    assert describe(load("an_adapter")()) == "A module."
    assert list(discover(load("an_adapter:One")())) == ["two"]
    with pytest.raises(AdapterError, match="module 'an_adapter' has no 'Two'; it has One"):
        load("an_adapter:Two")
    with pytest.raises(AdapterError, match="an_adapter:alone is not an Adapter"):
        load("an_adapter:alone")
    sys.modules.pop("an_adapter")
