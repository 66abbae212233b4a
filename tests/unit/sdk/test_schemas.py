"""The schemas of the catalogue, for every kind of parameter and result: valid by JSON Schema 2020-12, no reference into nothing."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import pathlib
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy
import pandas
import PIL.Image
import polars
import pyarrow
import pydantic
import pytest
from jsonschema import Draft202012Validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from snakepit import Adapter, tool
from snakepit.author.loading import load
from snakepit.author.tools import discover


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(pydantic.BaseModel):
    street: str
    colour: Colour = Colour.RED


class User(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    home: Address
    others: list[Address] = []
    by_name: dict[str, Address] = {}
    best: Address | None = None


class Node(pydantic.BaseModel):
    children: list[Node] = []


def another_address() -> type[Any]:
    """Of the same name, and not the same."""

    class Address(pydantic.BaseModel):
        number: int

    class Office(pydantic.BaseModel):
        at: Address

    return Office


Office: Any = another_address()


@pydantic_dataclass
class Range:
    low: int
    high: int

    @pydantic.model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError("low is over high")
        return self


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.datetime | None = None


class Pair(NamedTuple):
    a: int
    b: str


class Options(TypedDict, total=False):
    mode: Literal["fast", "slow"]


class Record(msgspec.Struct, rename="camel"):
    first_name: str
    user: User | None = None


class Everything(Adapter):
    """Each kind of parameter and result."""

    @tool
    def of_pydantic(self, user: User, office: Office, users: list[User], node: Node, maybe: User | None = None) -> User: ...

    @tool
    def of_pydantics_idioms(
        self,
        n: int = pydantic.Field(default=3, ge=0, description="How many"),
        m: Annotated[int, pydantic.Field(ge=0, le=10)] = 5,
        tags: list[str] = pydantic.Field(default_factory=list),  # noqa: B008
        *,
        range: Range,
        either: User | Office,
        needed: int = pydantic.Field(gt=1),
    ) -> Range: ...

    @tool
    def of_msgspec(self, point: Point, pair: Pair, options: Options, record: Record, colour: Colour) -> list[Record]: ...

    @tool
    def of_the_library(
        self,
        path: pathlib.Path,
        address: ipaddress.IPv4Address | None,
        day: datetime.date,
        moment: datetime.datetime,
        moments: list[datetime.datetime] | None,
        price: decimal.Decimal,
        share: fractions.Fraction,
        z: complex,
        anything: object,
    ) -> pathlib.Path: ...

    @tool
    def of_arrays(
        self,
        frame: pandas.DataFrame,
        series: pandas.Series,
        other: polars.DataFrame,
        table: pyarrow.Table,
        array: numpy.ndarray[Any, Any],
        image: PIL.Image.Image,
        scalar: numpy.float32,
        moment: pandas.Timestamp,
    ) -> Iterator[pandas.DataFrame]: ...

    @tool
    def with_defaults(
        self,
        sizes: list[int] = [1, 2],  # noqa: B006
        table: dict[str, int] = {"a": 1},  # noqa: B006
        limit: float = numpy.float64(1.0),
        where: pathlib.Path = pathlib.Path("/tmp"),
        colour: Colour = Colour.BLUE,
        user: User | None = None,
    ) -> dict[str, list[User]]: ...


ROOT = pathlib.Path(__file__).resolve().parents[3]
ADAPTERS = [Everything, "digits.tools:Digits", "notes.tools:Notes"]


@cache
def schemas(adapter: Any) -> dict[str, Any]:
    """Of its tools, by `TOOL, arguments` and `TOOL, result`."""
    found = {}
    for name, each in discover((load(adapter) if isinstance(adapter, str) else adapter)()).items():
        found[f"{name}, arguments"] = json.loads(each.info.input_schema)
        if each.info.output_schema:
            found[f"{name}, result"] = json.loads(each.info.output_schema)
    return found


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)
    elif isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref
        for each in schema.values():
            yield from references(each)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_schema_is_valid_and_all_its_references_lead_somewhere(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples/digits")
    found = schemas(adapter)
    assert found
    for name, schema in found.items():
        Draft202012Validator.check_schema(schema)
        for reference in references(schema):
            assert reference.removeprefix("#/$defs/") in schema["$defs"], (name, reference)


def properties(tool: str) -> dict[str, Any]:
    return dict(schemas(Everything)[f"{tool}, arguments"]["properties"])


def test_a_nested_model_is_described_and_checked() -> None:
    check = Draft202012Validator(schemas(Everything)["of_pydantic, arguments"])
    user = {"fullName": "Ada", "home": {"street": "x", "colour": "red"}}
    whole = {"user": user, "office": {"at": {"number": 1}}, "users": [user], "node": {"children": [{"children": []}]}}
    check.validate(whole)
    assert not check.is_valid(whole | {"user": {"fullName": "Ada", "home": {"colour": "red"}}})
    assert not check.is_valid(whole | {"office": {"at": {"street": "x"}}})


def test_the_result_of_a_model_is_described_by_the_names_that_it_has_in_json() -> None:
    assert "fullName" in schemas(Everything)["of_pydantic, result"]["properties"]


def test_what_pydantic_says_of_a_parameter_is_in_its_schema() -> None:
    found = properties("of_pydantics_idioms")
    assert found["n"] == {"type": "integer", "minimum": 0, "default": 3, "description": "How many"}
    assert (found["m"]["maximum"], found["m"]["default"], found["tags"]["default"]) == (10, 5, [])
    assert set(schemas(Everything)["of_pydantics_idioms, arguments"]["required"]) == {"range", "either", "needed"}


def test_defaults_of_every_kind_are_in_the_schema() -> None:
    found = properties("with_defaults")
    assert {name: each["default"] for name, each in found.items()} == {
        "sizes": [1, 2],
        "table": {"a": 1},
        "limit": 1.0,
        "where": "/tmp",
        "colour": "blue",
        "user": None,
    }


def test_dates_and_texts_have_their_formats() -> None:
    found = properties("of_the_library")
    assert (found["day"]["format"], found["moment"]["format"]) == ("date", "date-time")
    assert found["moments"]["anyOf"][0]["items"]["format"] == "date-time"
    assert (found["path"]["type"], found["share"]["type"]) == ("string", "string")
