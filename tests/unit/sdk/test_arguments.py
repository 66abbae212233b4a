"""What a caller may give for an annotation, and what it is told where it may not; and what an author is told of tools nobody can call."""

from __future__ import annotations

import datetime
import enum
import fractions
import ipaddress
import math
import pathlib
import re
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import numpy
import pandas
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from snakepit import Adapter, AdapterError, InvalidArguments, tool
from snakepit._values import payloads
from snakepit.author.tools import discover


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Address(pydantic.BaseModel):
    street: str = pydantic.Field(min_length=1)


class User(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    home: Address | None = None


class Company(pydantic.BaseModel):
    number: int


@pydantic_dataclass
class Range:
    low: int
    high: int

    @pydantic.model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError("low is over high")
        return self


class Event(msgspec.Struct):
    when: datetime.datetime
    colours: dict[str, list[Colour]] = {}


class Tools(Adapter):
    @tool
    def library(
        self,
        path: pathlib.Path = pathlib.Path(),
        address: ipaddress.IPv4Address | None = None,
        day: datetime.date | None = None,
        moments: list[datetime.datetime] | None = None,
        by_name: dict[str, datetime.datetime] | None = None,
        event: Event | None = None,
        share: fractions.Fraction | None = None,
        z: complex | None = None,
        scalar: numpy.float32 | None = None,
        timestamp: pandas.Timestamp | None = None,
        array: numpy.ndarray[Any, Any] | None = None,
    ) -> None: ...

    @tool
    def idioms(
        self,
        n: int = pydantic.Field(default=3, ge=0),
        m: Annotated[int, pydantic.Field(ge=0, le=10)] = 5,
        tags: list[str] = pydantic.Field(default_factory=list),  # noqa: B008
        range: Range | None = None,
        many: list[Range] = [],  # noqa: B006
        either: User | Company | None = None,
        inside: Annotated[int, pydantic.Field(default=7, ge=7)] = pydantic.Field(default=8),
        url: pydantic.HttpUrl | None = None,
    ) -> None: ...

    @tool
    def models(self, user: User) -> None: ...

    @tool
    def choices(
        self,
        colour: Colour = Colour.RED,
        number: Number = Number.ONE,
        mode: Literal["fast", "slow"] = "fast",
        several: dict[str, list[Colour]] = {},  # noqa: B006
        maybe: Colour | None = None,
        event: Event | None = None,
        prices: dict[str, dict[str, int]] = {},  # noqa: B006
        by_number: dict[int, int] = {},  # noqa: B006
        checked: Annotated[str, pydantic.StringConstraints(pattern="^a")] = "a",
    ) -> None: ...


TOOLS = discover(Tools())


def decode(name: str, **arguments: Any) -> dict[str, Any]:
    return TOOLS[name].decode(payloads.encode(arguments))


def refusal(name: str, **arguments: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        decode(name, **arguments)
    return caught.value.message


def test_what_text_can_say_comes_from_text() -> None:
    found = decode(
        "library",
        path="/a/b",
        address="10.0.0.1",
        day="2024-01-01",
        share="1/3",
        z="1+2j",
        scalar=0.5,
        timestamp="2024-01-01T00:00:00.000000001",
        array=[1, 2],
    )
    assert (found["path"], found["address"]) == (pathlib.Path("/a/b"), ipaddress.IPv4Address("10.0.0.1"))
    assert (found["day"], found["share"], found["z"]) == (datetime.date(2024, 1, 1), fractions.Fraction(1, 3), 1 + 2j)
    assert (type(found["scalar"]), found["timestamp"].nanosecond, found["array"].sum()) == (numpy.float32, 1, 3)


SENT: dict[str, Any] = {
    "path": pathlib.Path("/a"),
    "address": ipaddress.IPv4Address("10.0.0.1"),
    "share": fractions.Fraction(1, 3),
    "z": 1j,
    "scalar": numpy.float32(0.5),
    "timestamp": pandas.Timestamp("2024-01-01"),
}


def test_what_a_caller_sends_arrives_as_what_it_was_where_the_tool_asks_for_it() -> None:
    found = decode("library", **SENT)
    assert {name: found[name] for name in SENT} == SENT
    assert [type(found[name]) for name in SENT] == [type(each) for each in SENT.values()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"path": 3}, "argument `path`: Expected `Path`, got `int`"),
        ({"address": "10.0.0"}, "argument `address`: Expected 4 octets in '10.0.0'"),
        ({"share": "x"}, "argument `share`: Invalid literal for Fraction: 'x'"),
        ({"array": "text"}, "argument `array`: Expected an array of numbers, got `str`"),
        ({"array": ["a"]}, "argument `array`: Expected an array of numbers, got `array`"),
        ({"scalar": "1"}, "argument `scalar`: Expected `float32`, got `str`"),
        ({"moments": ["yesterday"]}, "argument `moments`: Invalid RFC3339 encoded datetime - at `[0]`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_library_refuses_names_the_argument(arguments: dict[str, Any], sentence: str) -> None:
    assert refusal("library", **arguments) == sentence


def test_a_date_or_a_time_without_a_zone_is_a_datetime_wherever_one_stands() -> None:
    new_year = datetime.datetime(2024, 1, 1)
    assert decode("library", moments=["2024-01-01", "2024-01-01 00:00", "2024-01-01T00:00:00"])["moments"] == [new_year] * 3
    found = decode("library", by_name={"a": "2024-01-01", "b": "20240101"}, event={"when": "2024-01-01"}, moments=["2024-01-01"])
    assert found["by_name"] == {"a": new_year, "b": new_year}
    assert (found["event"].when, found["moments"]) == (new_year, [new_year])


def test_text_that_looks_like_a_date_stays_text_beside_a_datetime_that_is_mended() -> None:
    assert decode("library", moments=["2024-01-01"], path="2024-01-01")["path"] == pathlib.Path("2024-01-01")


def test_pydantics_defaults_and_limits_hold() -> None:
    assert decode("idioms") == {"n": 3, "m": 5, "tags": [], "range": None, "many": [], "either": None, "inside": 8, "url": None}
    assert decode("idioms", n=0, m=10, tags=["a"])["n"] == 0
    assert refusal("idioms", n=-1) == "argument `n`: Input should be greater than or equal to 0"
    assert refusal("idioms", m=99) == "argument `m`: Input should be less than or equal to 10"
    assert refusal("idioms", tags=[1]) == "argument `tags`: 0: Input should be a valid string"
    assert refusal("idioms", inside=6) == "argument `inside`: Input should be greater than or equal to 7"
    assert str(decode("idioms", url="http://a.example")["url"]) == "http://a.example/"


def test_a_default_that_is_made_is_made_for_each_call() -> None:
    decode("idioms")["tags"].append("mine")
    assert decode("idioms")["tags"] == []


def test_a_dataclass_of_pydantic_is_validated_also_in_a_list() -> None:
    assert decode("idioms", range={"low": 1, "high": 2})["range"] == Range(1, 2)
    assert refusal("idioms", range={"low": 2, "high": 1}) == "argument `range`: Value error, low is over high"
    assert refusal("idioms", many=[{"low": 1, "high": 2}, {"low": 2, "high": 1}]).startswith("argument `many`: 1: Value error, low is over")


def test_models_are_told_apart() -> None:
    assert decode("idioms", either={"number": 1})["either"] == Company(number=1)
    assert decode("idioms", either={"fullName": "Ada"})["either"] == User(fullName="Ada")


def test_a_refusal_of_pydantic_says_where() -> None:
    assert refusal("models", user={"fullName": "Ada", "home": {"street": ""}}).startswith(
        "argument `user`: home.street: String should have"
    )
    assert refusal("models", user={}) == "argument `user`: fullName: Field required"
    assert refusal("models", user=3).startswith("argument `user`: Input should be a valid dictionary")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"colour": "green"}, "argument `colour`: Invalid enum value 'green'; it takes 'blue', 'red'"),
        ({"number": 3}, "argument `number`: Invalid enum value 3; it takes 1, 2"),
        ({"mode": "middling"}, "argument `mode`: Invalid enum value 'middling'; it takes 'fast', 'slow'"),
        ({"mode": 3}, "argument `mode`: Expected `str`, got `int`; it takes 'fast', 'slow'"),
        ({"maybe": "green"}, "argument `maybe`: Invalid enum value 'green'; it takes 'blue', 'red'"),
        (
            {"several": {"a": ["red"], "b": ["red", "green"], "c": ["red"]}},
            "argument `several`: Invalid enum value 'green' - at `.b[1]`; it takes 'blue', 'red'",
        ),
        (
            {"event": {"when": "2024-01-01", "colours": {"x y": ["green"]}}},
            "argument `event`: Invalid enum value 'green' - at `.colours['x y'][0]`; it takes 'blue', 'red'",
        ),
        ({"prices": {"a": {"x": 1}, "b": {"y": "1"}}}, "argument `prices`: Expected `int`, got `str` - at `.b.y`"),
        ({"by_number": {"1": 1, "x": 2}}, "argument `by_number`: Expected `int`, got `str` - at `.x`"),
        ({"checked": "b"}, "argument `checked`: String should match pattern '^a'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_refusal_names_the_key_and_the_choices(arguments: dict[str, Any], sentence: str) -> None:
    assert refusal("choices", **arguments) == sentence


def test_the_key_is_found_among_many() -> None:
    prices = {str(number): {"x": 1} for number in range(10_000)} | {"here": {"x": math.nan}}
    assert refusal("choices", prices=prices).endswith("at `.here.x`")


# ---- what an author is told


class Custom: ...


def offered(annotation: Any, default: Any = ...) -> str:
    def f(self: Any, fine: int, it: Any) -> None: ...

    f.__annotations__["it"] = annotation
    if default is not ...:
        f.__defaults__ = (default,)
    adapter = type("Odd", (Adapter,), {"f": tool(f)})
    with pytest.raises(AdapterError) as caught:
        discover(adapter())
    return str(caught.value)


@pytest.mark.parametrize("annotation", [Custom, threading.Event, Callable[[int], int], re.Pattern[str], list[Custom], range], ids=str)
def test_a_parameter_that_no_caller_can_give_is_refused_at_the_start_by_its_name(annotation: Any) -> None:
    assert offered(annotation).startswith("tool 'f': parameter 'it' is a ")
    assert "which no payload can carry: take text, numbers, lists" in offered(annotation)


@pytest.mark.parametrize(
    ("annotation", "default", "sentence"),
    [
        (list[int] | set[int], ..., "parameter 'it' can't be offered: Type unions may not contain more than one array-like"),
        (int, pydantic.Field(alias="other"), "parameter 'it' can't be offered: pydantic's alias is no name of a parameter"),
        (
            Annotated[int, pydantic.Field(ge=0), msgspec.Meta(le=3)],
            ...,
            "parameter 'it' can't be offered: limits of pydantic and of msgspec.Meta can't be mixed",
        ),
        (Annotated[Custom, pydantic.Field(description="x")], ..., "parameter 'it' can't be offered: pydantic can't read its annotation: "),
    ],
    ids=["union", "alias", "mixed", "of an unknown type"],
)
def test_what_can_not_be_offered_names_the_parameter(annotation: Any, default: Any, sentence: str) -> None:
    assert offered(annotation, default).startswith(f"tool 'f': {sentence}")


def test_a_number_of_numpy_may_be_a_default() -> None:
    class Fine(Adapter):
        @tool
        def f(self, x: float = numpy.float64(1.0), n: Any = numpy.int64(3)) -> None: ...  # noqa: B008

    assert discover(Fine())["f"].decode(payloads.encode({})) == {"x": 1.0, "n": 3}
