"""What programs are told by their environment: read alike by all of them, and refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from snakepit import _environment as environment
from snakepit._environment import Environment, InvalidSettings


@pytest.mark.parametrize(
    ("parse", "text", "read"),
    [
        (environment.address, "localhost:7800", "localhost:7800"),
        (environment.address_or_off, "off", None),
        (environment.address_or_off, "[::1]:7800", "[::1]:7800"),
        (environment.port, "0", 0),
        (environment.port, "65535", 65535),
        (environment.whole_number, "0", 0),
        (environment.positive_number, "1", 1),
        (environment.seconds, "0", 0.0),
        (environment.seconds, "2.5", 2.5),
        (environment.words, "a, b,,", ("a", "b")),
        (environment.on_or_off, "off", False),
    ],
)
def test_what_is_right_is_read(parse: Callable[[str], Any], text: str, read: object) -> None:
    assert Environment({"NAME": text})("NAME", parse, "the default") == read


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (environment.address, "off", "is not an address: write host:port"),
        (environment.address_or_off, "7800", "is not an address: write host:port"),
        (environment.port, "65536", "'65536' is not a port: write 1 to 65535, or 0 for none"),
        (environment.whole_number, "-1", "'-1' is not a whole number, 0 or more"),
        (environment.positive_number, "0", "'0' is not a whole number above 0"),
        (environment.positive_number, "1.5", "'1.5' is not a whole number above 0"),
        (environment.seconds, "soon", "'soon' is not a number of seconds, 0 or more"),
        (environment.seconds, "nan", "'nan' is not a number of seconds, 0 or more"),
        (environment.seconds, "inf", "'inf' is not a number of seconds, 0 or more"),
        (environment.on_or_off, "yes", "'yes': use on or off"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(parse: Callable[[str], Any], text: str, told: str) -> None:
    read = Environment({"NAME": text})
    assert read("NAME", parse, "the default") == "the default"
    with pytest.raises(InvalidSettings, match=f"^NAME: .*{told}"):
        read.check()


def test_an_empty_variable_is_none_and_all_problems_are_named_at_once() -> None:
    read = Environment({"EMPTY": "", "WRONG": "x"})
    assert read("EMPTY", environment.port, 7) == 7
    read("WRONG", environment.port, 0)
    read.required("MISSING", str)
    with pytest.raises(InvalidSettings) as refused:
        read.check()
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["WRONG", "MISSING"]
