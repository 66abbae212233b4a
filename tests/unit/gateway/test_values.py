"""What becomes of a result in JSON, and of JSON in arguments."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from snakepit import Attachment, InvalidArguments
from snakepit_gateway.values import arguments, jsonable

ROWS = [
    (None, None),
    ({"a": [1, "x", True]}, {"a": [1, "x", True]}),
    ([math.inf, -math.inf], [{"$float": "Infinity"}, {"$float": "-Infinity"}]),
    (b"\xff", {"$base64": "/w=="}),
    (Attachment("image/png", b"x"), {"$base64": "eA==", "contentType": "image/png"}),
    (Attachment("application/x-ndarray", b"\1\2", "|u1", (2,)), {"$base64": "AQI=", "dtype": "|u1", "shape": [2]}),
    ([{"a": Attachment("application/pdf", b"x")}], [{"a": {"$base64": "eA==", "contentType": "application/pdf"}}]),
]


@pytest.mark.parametrize(("value", "form"), ROWS)
def test_a_value_goes_through_json_and_comes_back(value: Any, form: Any) -> None:
    result = Attachment("application/octet-stream", value) if isinstance(value, bytes) else value
    assert json.loads(json.dumps(jsonable(result), allow_nan=False)) == form
    assert arguments(form) == value


def test_what_is_no_number_goes_through_json_and_comes_back() -> None:
    assert jsonable([math.nan]) == [{"$float": "NaN"}]
    assert math.isnan(arguments([{"$float": "NaN"}])[0])


def test_an_object_that_is_only_like_ours_stays_an_object() -> None:
    for read in ({"$float": "x"}, {"$float": 1}, {"$base64": "eA==", "more": 1}):
        assert arguments(read) == read


@pytest.mark.parametrize("read", [{"$base64": "?"}, {"$base64": 1}, {"$base64": "eA==", "dtype": "|u1", "shape": [-1]}])
def test_what_is_no_base64_or_no_shape_is_refused(read: Any) -> None:
    with pytest.raises(InvalidArguments):
        arguments({"deep": [read]})
