"""What a traceparent says, and what is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakepit._telemetry.traceparent import NOT_SAMPLED, is_sampled, parse, span_id, trace_id, under

TRACE, SPAN, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"


def test_its_parts_are_those_that_are_written_in_it() -> None:
    found = parse(SAMPLED)
    assert found is not None
    assert found == ("00", TRACE, SPAN, "01")
    assert (found.trace_id, found.span_id) == (trace_id(SAMPLED), span_id(SAMPLED))
    assert under(SAMPLED, OTHER) == f"00-{TRACE}-{OTHER}-01"


@given(st.text() | st.sampled_from([SAMPLED[:-1], SAMPLED + "1", SAMPLED + "\n", SAMPLED.upper(), SAMPLED.replace("-", "_"), NOT_SAMPLED]))
def test_what_has_another_form_is_none(text: str) -> None:
    assert parse(text) is None


def test_the_lowest_bit_of_the_flags_says_whether_it_is_sampled() -> None:
    assert [flags for flags in range(256) if is_sampled(f"00-{TRACE}-{SPAN}-{flags:02x}")] == list(range(1, 256, 2))
    assert not is_sampled(NOT_SAMPLED)
    assert not is_sampled("")
