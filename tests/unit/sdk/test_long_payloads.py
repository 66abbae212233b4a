"""What looking at a long payload costs: it is looked through for one byte, unless it has that."""

from __future__ import annotations

import math
from typing import Any

import pytest

from snakepit._ipc.frames import Payload
from snakepit._values import payloads
from snakepit._values.payloads import LONG_BYTES
from snakepit._values.serializer import kinds_of

TEXT = "null, $, unannounced " * LONG_BYTES


class Watched(bytes):
    """It keeps what was looked for in it."""

    def __init__(self, data: bytes) -> None:
        self.wanted: list[object] = []

    def __contains__(self, wanted: Any) -> bool:
        self.wanted.append(wanted)
        return super().__contains__(wanted)


@pytest.mark.parametrize(("data", "wanted"), [(b'"no marks"', [b"$"]), (b'"5 $"', [b"$", b'"$float"'])])
def test_json_is_looked_through_for_more_than_a_byte_only_where_it_has_that(data: bytes, wanted: list[bytes]) -> None:
    watched = Watched(data)
    payloads.decode(Payload(watched))
    assert watched.wanted == wanted


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        {"text": TEXT, "number": 1, "nothing": None, "yes": True},
        {"text": TEXT, "number": 0.5, "nothing": None},
        {"text": TEXT, "numbers": [0.5, math.inf, None]},
        {"text": TEXT, "number": math.inf},
        {"text": TEXT, "number": -math.inf, "nothing": None},
    ],
)
def test_long_values_come_back_with_their_infinities_and_nothings(value: Any) -> None:
    payload = payloads.encode(value)
    assert len(payload.data) > LONG_BYTES
    assert payloads.decode(payload) == value


def test_not_a_number_comes_back_beside_long_text() -> None:
    back = payloads.decode(payloads.encode({"text": TEXT, "number": math.nan}))
    assert back["text"] == TEXT
    assert math.isnan(back["number"])


def test_what_a_flat_value_is_made_of_is_told_without_a_look_at_its_text() -> None:
    assert set(kinds_of(TEXT)) == {str}
    assert set(kinds_of({"a": TEXT, "b": 1.0, "c": None})) == {str, float, type(None)}
    assert set(kinds_of(0.5)) == {float}
