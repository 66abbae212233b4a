"""What the text that faulthandler writes says about a tool."""

from __future__ import annotations

import os

import pytest

from snakepit_agent.workers.stacks import FRESH_SECONDS, MOST_BYTES, Stacks, where, without_machinery

INVOKE = "/opt/venv/lib/python3.12/site-packages/snakepit_worker/invoke.py"
READER = """Thread 0x00007f01 (most recent call first):
  File "/opt/venv/lib/python3.12/site-packages/snakepit_worker/channel.py", line 130 in read
  File "/usr/lib/python3.12/threading.py", line 1012 in run
"""


def running(*frames: str, thread: str = "00007f02") -> str:
    lines = [*frames, f'File "{INVOKE}", line 310 in _execute', f'File "{INVOKE}", line 295 in <lambda>']
    return f"Current thread 0x{thread} [worker] (most recent call first):\n" + "".join(f"  {line}\n" for line in lines)


TOOL = 'File "/app/digits/tools.py", line 12 in classify'
OTHER = 'File "/app/digits/tools.py", line 40 in train'


def test_it_is_the_innermost_line_of_the_thread_that_runs_the_tool() -> None:
    assert where(READER + running('File "/usr/lib/python3.12/queue.py", line 171 in get', TOOL)) == "python3.12/queue.py:171 in get"
    assert where(READER + running(TOOL)) == "digits/tools.py:12 in classify"


@pytest.mark.parametrize(
    "text",
    [
        "",
        READER,
        running(),
        running('File "/app/x.py", line 1 in on_session_start', f'File "{INVOKE.replace("invoke", "sessions")}", line 9 in begin'),
        'Thread 0x1 (most recent call first):\n  File "',
        "\x00\x01 Thread 0xzz\n" * 9,
    ],
    ids=["nothing", "no call", "not yet in the tool", "in its session's hook", "cut off", "no such text"],
)
def test_what_does_not_show_a_tool_says_nothing(text: str) -> None:
    assert where(text) == ""


def test_of_several_tools_it_is_the_one_in_the_thread_that_is_meant() -> None:
    text = running(TOOL, thread="a") + running(OTHER, thread="b")
    assert where(text, 0xA) == "digits/tools.py:12 in classify"
    assert where(text, 0xB) == "digits/tools.py:40 in train"
    assert where(text, 0xC) == ""
    assert where(text) == ""


def test_the_last_word_about_a_thread_counts() -> None:
    assert where(running(TOOL) + running(OTHER)) == "digits/tools.py:40 in train"


FATAL = "Fatal Python error: Segmentation fault\n\n"
MAIN = f"""Current thread 0x00007f02 (most recent call first):
  {TOOL}
  File "{INVOKE}", line 310 in _execute
  File "<frozen runpy>", line 88 in _run_code

Extension modules: msgspec._core, numpy.linalg (total: 2)
"""


def test_an_author_reads_neither_our_frames_nor_the_list_of_extension_modules() -> None:
    own = 'Thread 0x00007f03 (most recent call first):\n  File "/usr/lib/python3.12/threading.py", line 359 in wait\n'
    started = '  File "/app/digits/tools.py", line 3 in refresh\n  File "/usr/lib/python3.12/threading.py", line 1012 in run\n'
    assert without_machinery(f"{FATAL}{READER}\n{own}{started}\n{MAIN}") == (
        f"{FATAL}{own}{started.splitlines()[0]}\n\nCurrent thread 0x00007f02 (most recent call first):\n  {TOOL}"
    )


def test_of_what_has_no_frame_of_the_authors_all_is_read() -> None:
    assert without_machinery(FATAL + READER) == FATAL + READER
    assert without_machinery("no such text") == "no such text"


@pytest.fixture
def memory() -> int:
    return os.memfd_create("stacks")


def test_they_are_read_bounded_and_forgotten_when_they_are_asked_for_anew(memory: int) -> None:
    stacks = Stacks(memory)
    os.write(memory, b"x" * MOST_BYTES + b"the end")
    assert len(stacks.read()) == MOST_BYTES
    assert stacks.read().endswith("the end")
    stacks.expect(10.0, anew=True)
    assert stacks.read() == ""
    os.write(memory, b"new")
    stacks.expect(10.05, anew=True)
    assert stacks.read() == "new", "what is asked for together is kept"
    stacks.expect(16.0, anew=False)
    assert stacks.read() == "new"
    stacks.close()


def test_what_somebody_else_asked_for_is_told_once_and_what_we_asked_for_never(memory: int) -> None:
    stacks = Stacks(memory)
    assert stacks.unasked(0.0) == ""
    os.write(memory, b"by hand")
    assert (stacks.unasked(1.0), stacks.unasked(2.0)) == ("by hand", "")
    stacks.expect(3.0, anew=True)
    os.write(memory, b"ours")
    assert (stacks.unasked(4.0), stacks.unasked(4.0 + FRESH_SECONDS)) == ("", "")
    os.write(memory, b"by hand again")
    assert stacks.unasked(5.0 + FRESH_SECONDS) == "by hand again"
    stacks.close()


@pytest.mark.parametrize("asked", [False, True], ids=["never asked", "asked long ago"])
def test_what_a_dying_worker_writes_is_left_for_whoever_tells_its_end(memory: int, asked: bool) -> None:
    stacks = Stacks(memory)
    if asked:
        stacks.expect(1.0, anew=True)
    os.write(memory, b'Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "a.py", line 1 in a\n')
    assert stacks.unasked(2.0 + FRESH_SECONDS) == ""
    assert "line 1 in a" in stacks.read()
    stacks.close()


def test_a_descriptor_that_is_something_else_by_now_says_nothing() -> None:
    reader, writer = os.pipe()
    stacks = Stacks(reader)
    stacks.expect(1.0, anew=True)
    assert (stacks.read(), stacks.unasked(100.0)) == ("", "")
    stacks.close()
    os.close(writer)
