"""An exception as text: whose frames are shown."""

from __future__ import annotations

from pathlib import Path

from snakepit_worker import explained
from snakepit_worker.explained import explain


def raised_in(file: str) -> BaseException:
    try:
        exec(compile("1 / 0", file, "exec"), {})
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_an_author_is_shown_no_frames_of_ours_and_who_reads_of_a_thread_of_ours_is() -> None:
    error = raised_in(str(Path(explained.__file__).with_name("slots.py")))
    assert "slots.py" not in explain(error)["traceback"]
    assert "slots.py" in explain(error, hidden=())["traceback"]
