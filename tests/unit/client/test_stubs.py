"""A catalogue as Python classes, and what calls through them become."""

from __future__ import annotations

import dataclasses
import datetime
import types
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from snakepit import Adapter, AsyncContext, Context, InvalidArguments, SnakepitError, tool
from snakepit.author.tools import discover
from snakepit.cli import type_stubs
from snakepit.client.typed import Handle, Method
from snakepit.client.views import ToolInfo


@dataclasses.dataclass
class Point:
    x: int
    label: str = ""


class User(pydantic.BaseModel):
    name: str
    friends: list[User] = []


class Shop(Adapter):
    @tool
    def buy(self, item: str, count: int = 1, how: Literal["fast", "cheap"] = "cheap", *, ctx: Context) -> dict[str, float]:
        """Buy "it".

        And say so.
        """
        return {}

    @tool
    def near(self, to: Point, others: list[Point] | None = None) -> Point:
        return to

    @tool(name="find.all")
    async def find_all(self, user: User, data: bytes = b"", *, ctx: AsyncContext) -> AsyncIterator[User]:
        yield user

    @tool(name="import")
    def imported(self, anything: object = None) -> list[datetime.date]:
        return []

    @tool
    def untyped(self, value):  # type: ignore[no-untyped-def]
        return value


def catalogue() -> list[ToolInfo]:
    infos = [each.info for each in discover(Shop()).values()]
    return [
        ToolInfo(
            each.name,
            each.description,
            msgspec.json.decode(each.input_schema),
            msgspec.json.decode(each.output_schema) if each.output_schema else {},
            each.streaming,
            each.idempotent,
            each.timeout_seconds,
        )
        for each in infos
    ]


TEXT = type_stubs.render("default/web-shop", catalogue())


@pytest.fixture(scope="module")
def module() -> Any:
    made = types.ModuleType("made")
    exec(compile(TEXT, "made", "exec"), vars(made))
    return made


def test_the_classes_are_as_a_person_would_write_them() -> None:
    for line in (
        "class WebShop:",
        "class SyncWebShop:",
        "    async def buy(self, *, item: str, count: int = OMITTED, how: Literal['cheap', 'fast'] = OMITTED) -> dict[str, float]:",
        "    def buy(self, *, item: str, count: int = OMITTED, how: Literal['cheap', 'fast'] = OMITTED) -> dict[str, float]:",
        "    async def near(self, *, to: Point, others: list[Point] | None = OMITTED) -> Point:",
        "    def find_all(self, *, user: User, data: bytes = OMITTED) -> AsyncIterator[User]:",
        "    def find_all(self, *, user: User, data: bytes = OMITTED) -> Iterator[User]:",
        "    @tool(name='find.all')",
        "    async def import_(self, *, anything: Any = OMITTED) -> list[str]:",
        "    async def untyped(self, *, value: Any) -> Any:",
        "Point = TypedDict('Point', {'x': 'int', 'label': 'NotRequired[str]'})",
        '    """Buy \\"it\\".',
    ):
        assert line in TEXT or f"    {line}" in TEXT, f"{line}\n{TEXT}"


def test_a_recursive_type_is_written_once() -> None:
    assert TEXT.count("User = TypedDict('User'") == 1
    assert "'NotRequired[list[User]]'" in TEXT


def test_a_call_through_a_class_is_a_tool_and_its_arguments(module: Any) -> None:
    made: list[tuple[str, bool, dict[str, Any]]] = []
    shop = Handle(module.WebShop, lambda method, arguments: made.append((method.tool, method.streaming, arguments)), "pool")
    shop.buy(item="tea")
    shop.find_all(user={"name": "Ada"}, data=b"x")
    shop.import_()
    assert made == [
        ("buy", False, {"item": "tea"}),
        ("find.all", True, {"user": {"name": "Ada"}, "data": b"x"}),
        ("import", False, {}),
    ]


def test_an_adapter_itself_is_such_a_class_and_its_context_is_nobodys_argument() -> None:
    made: list[Any] = []
    shop: Any = Handle(Shop, lambda method, arguments: made.append((method.tool, method.streaming, arguments)), "pool")
    shop.buy("tea", 2)
    shop.find_all(user=User(name="Ada"))
    assert made == [("buy", False, {"item": "tea", "count": 2}), ("find.all", True, {"user": User(name="Ada")})]
    assert repr(shop) == "'pool'.typed(Shop)"


def test_mistakes_are_those_of_a_function_with_the_name_of_the_class() -> None:
    shop: Any = Handle(Shop, lambda method, arguments: None, "pool")
    with pytest.raises(TypeError, match=r"Shop\.buy: missing a required argument: 'item'"):
        shop.buy()
    with pytest.raises(TypeError, match=r"Shop\.buy: got an unexpected keyword argument 'itme'"):
        shop.buy("tea", itme="tea")
    with pytest.raises(AttributeError, match=r"Shop has no tool 'bye': did you mean 'buy'\?"):
        shop.bye()
    with pytest.raises(AttributeError, match="Shop has no tool 'setup'"):
        shop.setup()
    with pytest.raises(InvalidArguments, match=r"typed\(\) takes an Adapter class"):
        Handle("Shop", lambda method, arguments: None, "pool")  # type: ignore[arg-type]


def test_results_are_what_their_annotations_say() -> None:
    assert Method(Shop, "near").result({"x": 1}) == Point(1)
    assert Method(Shop, "imported").result(["2024-01-01"]) == [datetime.date(2024, 1, 1)]
    assert Method(Shop, "find_all").result({"name": "Ada", "friends": [{"name": "Bob"}]}) == User(name="Ada", friends=[User(name="Bob")])
    assert Method(Shop, "untyped").result({"a": 1}) == {"a": 1}
    with pytest.raises(
        SnakepitError, match=r"the result of tool 'near' is not what Shop\.near says .*: is the pool's code of another version\?"
    ):
        Method(Shop, "near").result([1])


def test_names_of_any_catalogue_are_names_of_python() -> None:
    names = ("9-lives", ".x", "class", "a.b-c")
    odd = [ToolInfo(name, 'say "this" \\ and\n  that', {"type": "object"}, {"enum": [1.5]}, False, False, 0.0) for name in names]
    exec(compile(type_stubs.render("n/3-d", odd), "made", "exec"), made := {})
    assert {"Pool3D", "SyncPool3D"} <= set(made)
    assert Method(made["Pool3D"], "tool_9_lives").tool == "9-lives"
    assert Method(made["Pool3D"], "class_").tool == "class"
