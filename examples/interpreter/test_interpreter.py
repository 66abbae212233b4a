"""The interpreter in a real worker, as `setup()` changes the folder of its process. `pytest examples/interpreter`."""

from collections.abc import Iterator
from typing import Any

import pytest

import snakepit_worker.testing
from interpreter.shell import MOST, Shell
from interpreter.tools import Interpreter
from snakepit import DeadlineExceeded, InvalidArguments, WorkerLost


@pytest.fixture
def python() -> Iterator[snakepit_worker.testing.LocalWorker]:
    with snakepit_worker.testing.start(Interpreter) as python:
        yield python


def run(python: snakepit_worker.testing.LocalWorker, code: str, **options: Any) -> Any:
    return python.call("run", {"code": code}, session_id="ada", **options)


def test_the_last_line_is_the_result_and_names_stay(python) -> None:
    assert run(python, "x = 20\nprint('hello')\nx + 1") == {"output": "hello\n", "result": "21", "error": ""}
    assert run(python, "x * 2")["result"] == "40"
    assert run(python, "None")["result"] == ""


def test_an_error_is_told_with_the_line_of_the_code_and_no_frame_of_ours(python) -> None:
    error = run(python, "def half(n):\n    return n / 0\nhalf(1)")["error"]
    assert "return n / 0" in error
    assert error.endswith("ZeroDivisionError: division by zero\n")
    assert "shell.py" not in error
    assert "SyntaxError" in run(python, "1 +")["error"]
    assert "SystemExit: 3" in run(python, "raise SystemExit(3)")["error"]


def test_files_go_in_and_out(python) -> None:
    assert python.call("put", {"name": "in.txt", "data": b"tea"}) == 3
    run(python, "open('out.txt', 'w').write(open('in.txt').read().upper())")
    assert python.call("files") == ["in.txt", "out.txt"]
    assert python.call("get", {"name": "out.txt"}) == b"TEA"
    with pytest.raises(InvalidArguments, match="name"):
        python.call("get", {"name": "../secret"})


def test_code_that_takes_too_long_is_stopped_and_what_it_knew_stays(python) -> None:
    run(python, "x = 1")
    with pytest.raises(DeadlineExceeded):
        run(python, "while True:\n    try:\n        x += 1\n    except Exception:\n        pass", timeout=0.3)
    assert int(run(python, "x")["result"]) > 1


def test_code_that_ends_its_process_ends_no_more_than_that(python) -> None:
    with pytest.raises(WorkerLost, match="exit code 3"):
        run(python, "import os\nos._exit(3)")


def test_what_is_long_is_cut() -> None:
    outcome = Shell().run(f"print('x' * {3 * MOST})\nprint('y')\n'z' * {3 * MOST}")
    assert (len(outcome.output), len(outcome.result)) == (MOST, MOST)
