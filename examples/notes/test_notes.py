"""How to test an adapter: in the test's own process, and in a real worker. `pytest examples/notes`."""

from collections.abc import Iterator

import pytest

import snakepit.testing
import snakepit_worker.testing
from notes.tools import Notes
from snakepit import DeadlineExceeded, InvalidArguments


@pytest.fixture(params=[snakepit.testing.start, snakepit_worker.testing.start], ids=["in this process", "in a worker"])
def notes(request: pytest.FixtureRequest) -> Iterator[snakepit.testing.Harness | snakepit_worker.testing.LocalWorker]:
    with request.param(Notes) as notes:
        yield notes


def test_each_session_has_its_own_notes(notes) -> None:
    assert notes.call("add", {"text": "tea"}, session_id="ada") == 1
    assert notes.call("add", {"text": "milk"}, session_id="ada") == 2
    assert list(notes.stream("read", session_id="ada")) == ["tea", "milk"]
    assert list(notes.stream("read", session_id="bob")) == []
    assert notes.state.value("ada", "notes") == ["tea", "milk"]


def test_notes_are_forgotten_when_somebody_says_yes(notes) -> None:
    def confirm(question: str) -> bool:
        return question == "Forget everything?"

    notes.offer(confirm)
    notes.state.put("ada", "notes", ["tea"])
    assert notes.call("clear", session_id="ada") is True
    assert notes.state.value("ada", "notes") is None


def test_a_report_says_how_far_it_is(notes) -> None:
    heard = []
    notes.call("report", {"pages": 2}, on_progress=lambda fraction, message: heard.append((fraction, message)))
    assert heard == [(0.5, "page 1"), (1.0, "page 2")]


def test_a_deadline_ends_a_tool(notes) -> None:
    with pytest.raises(DeadlineExceeded):
        notes.call("wait", {"seconds": 60}, timeout=0.2)


def test_a_stream_may_be_left(notes) -> None:
    ticks = notes.stream("ticks")
    assert [next(ticks), next(ticks)] == [0, 1]
    ticks.close()


def test_wrong_arguments_are_refused(notes) -> None:
    with pytest.raises(InvalidArguments, match="text"):
        notes.call("add", {"txet": "tea"}, session_id="ada")
