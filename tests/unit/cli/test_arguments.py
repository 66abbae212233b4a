"""What a person types as arguments."""

from __future__ import annotations

import io

import pytest

from snakepit.cli.arguments import parse_arguments
from snakepit.errors import InvalidArguments


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["to=3", "name=ann", "on=true"], {"to": 3, "name": "ann", "on": True}),
        (["x=[1, 2]", 'y={"a": null}'], {"x": [1, 2], "y": {"a": None}}),
        (["text=a=b", 'quoted="3"', "empty="], {"text": "a=b", "quoted": "3", "empty": ""}),
        (['{"a": {"b": 1}}'], {"a": {"b": 1}}),
    ],
    ids=["none", "plain", "json", "texts", "object"],
)
def test_words_become_values(words: list[str], values: dict[str, object]) -> None:
    assert parse_arguments(words) == values


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    assert parse_arguments(["-"]) == {"a": 1}


@pytest.mark.parametrize(
    ("words", "named"), [(["to"], "'to'"), (["=3"], "'=3'"), (['{"a": '], "no JSON object")], ids=["word", "key", "json"]
)
def test_what_is_neither_is_named(words: list[str], named: str) -> None:
    with pytest.raises(InvalidArguments, match=named):
        parse_arguments(words)
