"""What of the W3C's headers beside `traceparent` goes along with a call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE, carried
from snakepit._telemetry.traceparent import NOT_SAMPLED

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BOTH = {TRACESTATE: "vendor=1", BAGGAGE: "customer=ada"}


def test_both_are_carried_and_nothing_else() -> None:
    assert carried([*BOTH.items(), ("authorization", "Bearer x"), ("traceparent", PARENT)], PARENT) == BOTH


def test_a_header_that_comes_twice_is_one_list() -> None:
    said = [(BAGGAGE, "a=1"), (TRACESTATE, "x=1"), (BAGGAGE, "b=2"), (TRACESTATE, "y=2"), (BAGGAGE, "")]
    assert carried(said, PARENT) == {BAGGAGE: "a=1,b=2", TRACESTATE: "x=1,y=2"}


def test_the_state_of_no_trace_is_none() -> None:
    for none in ("", NOT_SAMPLED):
        assert carried(BOTH.items(), none) == {BAGGAGE: "customer=ada"}


def test_what_is_too_long_is_left_out() -> None:
    fits = {TRACESTATE: "s" * 1024, BAGGAGE: "b" * 8192}
    assert carried(fits.items(), PARENT) == fits
    assert carried([(name, value + "x") for name, value in fits.items()], PARENT) == {}


@given(st.lists(st.tuples(st.sampled_from([TRACESTATE, BAGGAGE, "other"]), st.text() | st.binary() | st.none() | st.integers())))
def test_whatever_a_stranger_says_what_goes_along_is_fit_for_a_header(said: list[tuple[str, object]]) -> None:
    for name, text in carried(said, PARENT).items():
        assert name in BOTH
        assert text.isascii()
        assert text.isprintable()
        assert 0 < len(text) <= 8192
