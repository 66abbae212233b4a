"""Log lines: what a record of Python's logging becomes, and what people see of it."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import MOST, MOST_DETAIL, MOST_DETAILS, LogLine
from snakepit._telemetry.logs import JsonFormatter
from support.log_lines import line

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = "2026-11-29T20:14:07.121Z"


def record(message: str = "said", number: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "snakepit.x", "levelno": number, "levelname": "ODD", "msg": message, "created": 1.5, **extra})


def formatted(made: logging.LogRecord, **always: str) -> dict[str, Any]:
    text = JsonFormatter("agent", **always).format(made)
    assert "\n" not in text
    return line(text)


def test_extras_are_fields_where_the_schema_has_them_and_details_else() -> None:
    said = formatted(record(call="c1", traceparent=TRACEPARENT, cause="SetupFailed", tries=3), pool="default/digits", capsule="d-0")
    assert said == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "component": "agent",
        "pool": "default/digits",
        "capsule": "d-0",
        "call": "c1",
        "logger": "snakepit.x",
        "message": "said",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "details": {"cause": "SetupFailed", "tries": 3},
    }


@pytest.mark.parametrize("text", ["", "a-b-c-d", TRACEPARENT.upper(), TRACEPARENT[3:], f"{TRACEPARENT[:-10]}\n{TRACEPARENT[-9:]}"])
def test_a_malformed_traceparent_is_no_trace(text: str) -> None:
    assert not {"trace_id", "span_id"} & formatted(record(traceparent=text)).keys()


def test_a_field_that_is_about_something_else_than_the_program_wins() -> None:
    assert formatted(record(pool="team/other"), pool="default/digits")["pool"] == "team/other"


@pytest.mark.parametrize("name", ["time", "level", "component", "details", "logger", "exception"])
def test_no_extra_forges_what_a_line_says_of_itself(name: str) -> None:
    said = formatted(record(**{name: "forged"}))
    assert said["component"] == "agent"
    assert said["details"] == {name: "forged"}
    assert said.get(name) != "forged"


@pytest.mark.parametrize(
    ("number", "word"),
    [(5, "debug"), (10, "debug"), (20, "info"), (25, "info"), (30, "warning"), (39, "warning"), (40, "error"), (50, "critical")],
)
def test_levels_of_others_are_the_next_lower_one_of_ours(number: int, word: str) -> None:
    assert formatted(record(number=number))["level"] == word


def test_an_exception_is_a_field_and_keeps_its_end() -> None:
    try:
        raise KeyError("x" * 2 * MOST)
    except KeyError:
        said = formatted(record(exc_info=sys.exc_info()))
    assert len(said["exception"]) == MOST
    assert said["exception"].endswith("x'")


def test_a_message_and_details_have_bounds() -> None:
    said = formatted(record("m" * (MOST + 7), **{f"d{n}": "v" * (MOST_DETAIL + 1) for n in range(MOST_DETAILS + 5)}))
    assert said["message"].endswith("m ... (7 characters more)")
    assert len(said["details"]) == MOST_DETAILS
    assert {len(each) for each in said["details"].values()} == {len(log_lines.bounded("v" * (MOST_DETAIL + 1), MOST_DETAIL))}


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**80, b"bytes", ["a"], None, object()])
def test_what_json_or_its_readers_have_not_is_text(value: Any) -> None:
    assert formatted(record(odd=value))["details"] == {"odd": str(value)}


class Odd(float):
    """As numpy's float64."""


def test_numbers_of_libraries_are_numbers_and_what_is_for_terminals_is_left_out() -> None:
    assert formatted(record(odd=Odd(1.5), color_message="\x1b[36msaid"))["details"] == {"odd": 1.5}


@given(st.text(st.characters()), st.text(st.characters()), st.text(st.characters()), st.text(st.characters()))
def test_whatever_is_said_a_line_is_valid_and_comes_back(message: str, call: str, name: str, value: str) -> None:
    made = LogLine(time=AT, level="info", component="worker", message=message, call=call, details={name: value})
    encoded = log_lines.encode(made)
    line(encoded)
    again = log_lines.decode(encoded)
    assert again is not None
    assert log_lines.encode(again) == encoded


@pytest.mark.parametrize("text", ["", "plain", "[]", "{}", '{"message":"only"}', "\ud800", b"\xff", '{"time":1}'])
def test_what_is_no_line_of_ours_is_none(text: str | bytes) -> None:
    assert log_lines.decode(text) is None


def test_for_people_a_line_of_a_program_says_which_and_how_serious_it_is() -> None:
    said = LogLine(time=AT, level="warning", component="agent", message="worker d-0/1 is killed", worker="d-0/1", logger="snakepit_agent.x")
    assert log_lines.as_text(said) == "agent WARNING worker d-0/1 is killed"
