"""The interpreter in a real worker, as IPython and `setup()` change their process. `pytest examples/interpreter`."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

import snakepit_worker.testing
from interpreter.shell import MOST, MOST_SHOWN
from interpreter.shown import richest
from interpreter.tools import Interpreter
from snakepit import Attachment, DeadlineExceeded, InvalidArguments, WorkerLost


@pytest.fixture
def python() -> Iterator[snakepit_worker.testing.LocalWorker]:
    with snakepit_worker.testing.start(Interpreter) as python:
        yield python


def run(python: snakepit_worker.testing.LocalWorker, code: str, **options: Any) -> Any:
    return python.call("run", {"code": code}, session_id="ada", **options)


def test_the_last_line_is_the_result_and_names_stay(python) -> None:
    assert run(python, "x = 20\nprint('hello')\nx + 1") == {"output": "hello\n", "result": "21", "error": "", "shown": []}
    assert run(python, "x * 2")["result"] == "40"
    assert run(python, "_ + 1")["result"] == "41"
    assert run(python, "None")["result"] == ""
    assert run(python, "import asyncio\nawait asyncio.sleep(0, 'waited')")["result"] == "'waited'"


def test_an_error_is_told_with_the_line_of_the_code_and_no_frame_of_ours(python) -> None:
    error = run(python, "def half(n):\n    return n / 0\nhalf(1)")["error"]
    assert "return n / 0" in error
    assert error.endswith("ZeroDivisionError: division by zero")
    assert "shell.py" not in error
    assert "SyntaxError" in run(python, "1 +")["error"]
    left = run(python, "raise SystemExit(3)")
    assert ("SystemExit: 3" in left["error"], left["output"]) == (True, "")
    assert "EOFError" in run(python, "input('who are you? ')")["error"]
    assert run(python, "exit()")["output"] == "The session goes on: whoever opened it ends it.\n"


def test_what_has_more_than_text_is_shown(python) -> None:
    frame = run(python, "import pandas\npandas.DataFrame({'city': ['Oslo']})")
    assert "0  Oslo" in frame["result"]
    ((media, table),) = media_and_data(frame)
    assert (media, b"<td>Oslo</td>" in table) == ("text/html", True)

    pictures = run(python, "from PIL import Image\nfor size in (2, 3): display(Image.new('RGB', (size, size)))\nprint('drawn')")
    assert [(media, data[:4]) for media, data in media_and_data(pictures)] == [("image/png", b"\x89PNG")] * 2
    assert pictures["output"].splitlines()[-1] == "drawn"
    assert run(python, "1")["shown"] == []


def media_and_data(outcome: Any) -> list[tuple[str, bytes]]:
    return [(each["media"], each["data"]) for each in outcome["shown"]]


def test_the_first_of_the_richest_forms_is_kept_and_a_text_that_is_a_picture_is_base64() -> None:
    svg, png = "<svg/>", base64.b64encode(b"\x89PNG").decode()
    shown = richest({"text/plain": "…", "image/svg+xml": svg, "image/png": png})
    assert (shown.media, shown.data) == ("image/png", Attachment("image/png", b"\x89PNG"))
    assert richest({"text/html": "<b>", "image/svg+xml": svg}).data.data == b"<svg/>"
    assert richest({"application/json": {"a": 1}}).data.data == b'{"a": 1}'
    assert richest({"text/plain": "2"}) is None


def test_magics_and_the_commands_of_a_shell_run(python) -> None:
    assert run(python, "!echo tea | tr a-z A-Z")["output"].strip() == "TEA"
    assert run(python, "%%writefile greet.py\nprint('hello')")["error"] == ""
    assert run(python, "%run greet.py")["output"] == "hello\n"
    assert "1 loop each" in run(python, "%timeit -n1 -r1 1")["output"]
    assert "not found" in run(python, "%nonsense")["output"]


def test_files_go_in_and_out(python) -> None:
    assert python.call("put", {"name": "in.txt", "data": b"tea"}) == 3
    run(python, "open('out.txt', 'w').write(open('in.txt').read().upper())")
    assert python.call("files") == ["in.txt", "out.txt"]
    assert python.call("get", {"name": "out.txt"}) == b"TEA"
    with pytest.raises(InvalidArguments, match="name"):
        python.call("get", {"name": "../secret"})


@pytest.mark.parametrize(
    "code", ["while True:\n    try:\n        x += 1\n    except Exception:\n        pass", "!sleep 60", "%%bash\nsleep 60"]
)
def test_code_that_takes_too_long_is_stopped_and_what_it_knew_stays(python, code: str) -> None:
    run(python, "x = 1")
    with pytest.raises(DeadlineExceeded):
        run(python, code, timeout=0.3)
    assert int(run(python, "x")["result"]) >= 1


def test_code_that_ends_its_process_ends_no_more_than_that(python) -> None:
    with pytest.raises(WorkerLost, match="exit code 3"):
        run(python, "import os\nos._exit(3)")


def test_what_is_long_is_cut_and_what_is_large_is_left_out(python) -> None:
    outcome = run(python, f"print('x' * {3 * MOST})\nprint('y')\n'z' * {3 * MOST}")
    assert outcome["output"] == "x" * MOST + f"\n[{2 * MOST + 3} more characters were left out]\n"
    assert outcome["result"] == "'" + "z" * (MOST - 1) + f"\n[{2 * MOST + 2} more characters were left out]\n"
    error = run(python, f"raise ValueError('x' * {MOST} + 'y')")["error"]
    assert error.startswith("[")
    assert error.endswith(" more characters were left out]\n" + "x" * (MOST - 1) + "y")
    large = run(python, f"from IPython.display import HTML\ndisplay(HTML('x' * {MOST_SHOWN}), HTML('x'))")
    assert [len(data) for _, data in media_and_data(large)] == [MOST_SHOWN]
    assert f"[text/html of 1 bytes was left out: a piece of code shows {MOST_SHOWN} at most]" in large["output"]
