"""What a person types as arguments, with and without the tool's schema."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from snakepit import tool
from snakepit.author.tools import Tool, discover
from snakepit.cli.arguments import parse_arguments, wants_schema
from snakepit.errors import InvalidArguments


class Everything:
    @tool
    def take(
        self,
        text: str,
        whole: int,
        number: float,
        flag: bool,
        data: bytes,
        items: list[float],
        object_: dict[str, int],
        anything: object,
        maybe: str | None,
        either: int | str,
        choice: Literal["a", "b"],
        when: datetime,
        count: int | None = None,
        raw: bytes | None = None,
    ) -> None: ...


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    (found,) = discover(Everything()).values()
    assert isinstance(found, Tool)
    return dict(msgspec.json.decode(found.signature.input_schema))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["to=3", "name=ann", "on=true"], {"to": 3, "name": "ann", "on": True}),
        (["x=[1, 2]", 'y={"a": null}'], {"x": [1, 2], "y": {"a": None}}),
        (["text=a=b", 'quoted="3"', "empty="], {"text": "a=b", "quoted": "3", "empty": ""}),
        (['{"a": {"b": 1}}'], {"a": {"b": 1}}),
        (['x:="3"', "y:=[1]"], {"x": "3", "y": [1]}),
    ],
    ids=["none", "plain", "json", "texts", "object", "always json"],
)
def test_without_a_schema_words_are_json_where_they_can_be(words: list[str], values: dict[str, object]) -> None:
    assert parse_arguments(words) == values


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=42", "42"),
        ("text=true", "true"),
        ('text="42"', '"42"'),
        ("text=", ""),
        ("maybe=null", "null"),
        ("maybe:=null", None),
        ("whole=42", 42),
        ("number=1", 1),
        ("number=1e3", 1000.0),
        ("flag=true", True),
        ("data=abc", b"abc"),
        ("raw=ä", "ä".encode()),
        ("items=[1, 2.5]", [1, 2.5]),
        ('object_={"a": 1}', {"a": 1}),
        ("anything=1", 1),
        ("anything=one", "one"),
        ("either=1", 1),
        ("either=one", "one"),
        ("either=[1]", "[1]"),
        ("choice=a", "a"),
        ("when=2026-11-28", "2026-11-28"),
        ("count=null", None),
        ("count=3", 3),
        ("unknown=3", 3),
    ],
)
def test_with_a_schema_a_word_is_what_the_parameter_takes(schema: dict[str, Any], word: str, value: object) -> None:
    (found,) = parse_arguments([word], schema).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("whole=abc", "argument `whole` is a whole number, and 'abc' is none: write whole=3"),
        ("whole=1.5", "argument `whole` is a whole number"),
        ("whole=true", "argument `whole` is a whole number"),
        ("number=abc", "argument `number` is a number, and 'abc' is none: write number=1.5"),
        ("number=NaN", "argument `number` is a number"),
        ("flag=yes", "argument `flag` is true or false, and 'yes' is none: write flag=true"),
        ("items=1,2", "argument `items` is a JSON list, and '1,2' is none: write items='[1, 2]', or items=@FILE"),
        ("items={}", "argument `items` is a JSON list"),
        ("object_=x", "argument `object_` is a JSON object"),
        ("count=abc", "argument `count` is a whole number or null, and 'abc' is none: write count=3"),
        ("text:=abc", "argument `text`: 'abc' is not JSON"),
        (f"whole={'x' * 1000}", "xxx…'"),
    ],
)
def test_what_a_parameter_can_not_take_is_refused_with_its_name(schema: dict[str, Any], word: str, sentence: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        parse_arguments([word], schema)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_file_is_text_bytes_or_json_as_the_parameter_is(schema: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[1, 2]\n")
    Path("bytes").write_bytes(b"\xff\x00")
    assert parse_arguments(["text=@list.json"], schema) == {"text": "[1, 2]\n"}
    assert parse_arguments(["data=@list.json"], schema) == {"data": b"[1, 2]\n"}
    assert parse_arguments(["items=@list.json"], schema) == {"items": [1, 2]}
    assert parse_arguments(["anything=@list.json"], schema) == {"anything": "[1, 2]\n"}
    assert parse_arguments(["anything:=@list.json"], schema) == {"anything": [1, 2]}
    assert parse_arguments([f"data=@{tmp_path}/bytes", "raw=@bytes"], schema) == {"data": b"\xff\x00", "raw": b"\xff\x00"}
    assert parse_arguments(["anything=@bytes"], schema) == {"anything": b"\xff\x00"}
    for word, sentence in [
        ("text=@bytes", "argument `text` is a text, and bytes is not UTF-8 text"),
        ("whole=@list.json", "argument `whole` is a whole number, and what list.json holds is none"),
        ("text=@nobody", "the file 'nobody' can't be read: No such file or directory (a text that begins with @ is text:='\"@nobody\"')"),
        ("anything:=@bytes", "argument `anything`: "),
    ]:
        with pytest.raises(InvalidArguments) as caught:
            parse_arguments([word], schema)
        assert sentence in str(caught.value)


def test_the_way_out_that_the_sentence_names_works(schema: dict[str, Any]) -> None:
    assert parse_arguments(['text:="@nobody"'], schema) == {"text": "@nobody"}


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_dash_reads_standard_input(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b'{"a": 1}')
    assert parse_arguments(["-"]) == {"a": 1}
    stdin(monkeypatch, b"\xff")
    assert parse_arguments(["data=@-"], schema) == {"data": b"\xff"}


@pytest.mark.parametrize(
    ("words", "named"),
    [(["to"], "'to'"), (["=3"], "'=3'"), ([":=3"], "':=3'"), (['{"a": '], "no JSON object"), (["a=1", "a=2"], "`a` is there twice")],
    ids=["word", "key", "no key", "json", "twice"],
)
def test_what_is_neither_is_named(words: list[str], named: str) -> None:
    with pytest.raises(InvalidArguments, match=named):
        parse_arguments(words)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [([], False), (["-"], False), (['{"a=": 1}'], False), (["a:=1"], False), (["a=1"], True), (["b:=1", "a=@f"], True), (["a=b:=c"], True)],
)
def test_the_tool_is_asked_for_its_schema_only_where_it_matters(words: list[str], wanted: bool) -> None:
    assert wants_schema(words) is wanted
