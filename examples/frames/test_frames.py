"""Frames and plots in real workers. `pytest examples/frames`."""

import io
import re
import signal
from collections.abc import Iterator

import pandas
import PIL.Image
import pytest

import snakepit_worker.testing
from explore import SALES
from frames.chart import MOST, bars
from frames.tools import Frames
from snakepit import InvalidArguments, ToolError

TEAL = (0, 128, 128)
BY_CITY = {"by": "city", "of": "sales"}
OF_2025 = {"column": "year", "op": "==", "value": 2025}


@pytest.fixture
def frames() -> Iterator[snakepit_worker.testing.LocalWorker]:
    with snakepit_worker.testing.start(Frames) as frames:
        yield frames


def test_a_session_has_a_frame_that_stays_and_another_has_its_own(frames) -> None:
    assert frames.note == ""  # it was forked
    assert frames.call("load", {"csv": SALES}, session_id="ada") == 5
    assert frames.call("keep", OF_2025, session_id="ada") == 3
    assert frames.call("keep", {"column": "city", "op": "!=", "value": "Rome"}, session_id="ada") == 2
    assert frames.call("totals", BY_CITY, session_id="ada") == {"Paris": 150, "Oslo": 40}
    with pytest.raises(ToolError, match="load a table first"):
        frames.call("totals", BY_CITY, session_id="bob")
    with pytest.raises(ToolError, match="call with one"):
        frames.call("load", {"csv": SALES})


def test_a_plot_is_a_picture_of_the_frame(frames) -> None:
    frames.call("load", {"csv": SALES}, session_id="ada")
    png = frames.call("plot", BY_CITY, session_id="ada")
    with PIL.Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (640, 480))
        before = teal(picture)
    frames.call("keep", {"column": "city", "op": "==", "value": "Paris"}, session_id="ada")
    svg = frames.call("plot", {**BY_CITY, "form": "svg"}, session_id="ada").decode()
    assert (">Paris<" in svg, ">Rome<" in svg) == (True, False)
    with PIL.Image.open(io.BytesIO(frames.call("plot", BY_CITY, session_id="ada"))) as picture:
        assert teal(picture) > before > 10_000  # one wide bar, where three were


def teal(picture: PIL.Image.Image) -> int:
    """Pixels of bars."""
    return {colour: many for many, colour in picture.convert("RGB").getcolors(2**16)}[TEAL]


def test_what_does_not_fit_is_said(frames) -> None:
    frames.call("load", {"csv": SALES}, session_id="ada")
    with pytest.raises(ToolError, match=re.escape("there is no column 'town', but city, year, sales")):
        frames.call("totals", {"by": "town", "of": "sales"}, session_id="ada")
    with pytest.raises(ToolError, match="'city' has no numbers"):
        frames.call("totals", {"by": "year", "of": "city"}, session_id="ada")
    with pytest.raises(ToolError, match="EmptyDataError"):
        frames.call("load", {"csv": ""}, session_id="ada")
    with pytest.raises(InvalidArguments, match="form"):
        frames.call("plot", {**BY_CITY, "form": "exe"}, session_id="ada")
    with pytest.raises(InvalidArguments, match="op"):
        frames.call("keep", {**OF_2025, "op": "@eval"}, session_id="ada")
    assert frames.call("totals", BY_CITY, session_id="ada") == {"Paris": 270, "Rome": 175, "Oslo": 40}


def test_a_frame_is_made_again_in_another_worker_when_its_own_is_killed() -> None:
    with snakepit_worker.testing.LocalAgent() as agent:
        first = agent.start("frames.tools:Frames")
        for session in ("ada", "bob"):
            first.call("load", {"csv": SALES}, session_id=session)
            first.call("keep", OF_2025, session_id=session)
        first.call("load", {"csv": SALES}, session_id="bob")  # anew, so of all years
        first.signal(signal.SIGKILL)
        first.exited()
        second = agent.start("frames.tools:Frames")
        assert second.call("totals", BY_CITY, session_id="ada") == {"Paris": 150, "Rome": 95, "Oslo": 40}
        assert second.call("totals", BY_CITY, session_id="bob") == {"Paris": 270, "Rome": 175, "Oslo": 40}


def test_labels_are_words_and_of_many_the_largest_are_drawn() -> None:
    many = pandas.Series(range(1, MOST + 2), index=[f"<$x_{each}$>" for each in range(MOST + 1)], name="sales")
    svg = bars(many, "svg").decode()
    assert svg.count(">&lt;$x_") == MOST
    assert "$x_0$" not in svg
