"""How a process ended, in words."""

from __future__ import annotations

import pytest

from snakepit._ipc.worker import CHANNEL_EXIT
from snakepit_agent.model.exits import exited, killed

STACKS = """Fatal Python error: Segmentation fault

Thread 0x00007f770a94e6c0 (most recent call first):
  File "/snakepit_worker/channel.py", line 129 in read

Current thread 0x00007f770c40db80 (most recent call first):
  File "/app/tools.py", line 12 in classify
  File "/snakepit_worker/invoke.py", line 307 in _execute
"""


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9, "signal 9 (SIGKILL: killed)"),
        (11, "signal 11 (SIGSEGV: segmentation fault)"),
        (40, "signal 40 (real-time signal 6)"),
    ],
)
def test_a_signal_has_its_number_its_name_and_what_it_means(number: int, words: str) -> None:
    assert killed(number, "", "", oom=False) == (f"signal {number}", words)


def test_the_last_line_of_python_is_that_of_the_thread_that_the_signal_met() -> None:
    at = "; its last line of Python: /app/tools.py, line 12, in classify"
    assert killed(11, STACKS, "", oom=False).words == f"signal 11 (SIGSEGV: segmentation fault){at}"


IN_A_LIBRARY = """Fatal Python error: Segmentation fault

Current thread 0x00007f770c40db80 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/venv/lib/python3.12/site-packages/fast/core.py", line 7 in load
  File "/app/tools.py", line 12 in read
  File "/app/tools.py", line 30 in classify
  File "/snakepit_worker/invoke.py", line 307 in _execute
  File "/usr/lib/python3.11/threading.py", line 1 in run

Extension modules: fast
"""


def test_the_last_line_is_the_authors_also_where_the_signal_met_a_library() -> None:
    said = killed(11, IN_A_LIBRARY, "", oom=False).words.partition("its last line of Python: ")[2]
    assert said == "/app/tools.py, line 12, in read (which had called /usr/lib/python3.11/ctypes/__init__.py, line 519, in string_at)"


def test_of_an_adapter_that_is_installed_itself_the_line_is_the_tools() -> None:
    said = killed(11, IN_A_LIBRARY.replace("/app/", "/venv/lib/python3.12/site-packages/app/"), "", oom=False).words
    assert "its last line of Python: /venv/lib/python3.12/site-packages/app/tools.py, line 30, in classify (which had" in said


def test_what_we_killed_ourselves_says_why_even_when_memory_was_short() -> None:
    assert killed(9, "", "it did not stop", oom=True) == ("signal 9", "signal 9 (SIGKILL: killed): it did not stop")
    assert killed(15, "", "it was late", oom=False) == ("signal 15", "signal 15 (SIGTERM: terminated): it was late")
    assert killed(11, "", "it was late", oom=False).words == "signal 11 (SIGSEGV: segmentation fault)"


def test_out_of_memory_has_a_name_of_its_own() -> None:
    assert killed(9, "", "", oom=True) == ("oom", "out of memory: the kernel killed it")


def test_an_exit_code_of_ours_says_what_it_means() -> None:
    assert exited(3) == ("exit code 3", "exit code 3 (its own code ended the process)")
    assert "closed or replaced a descriptor" in exited(CHANNEL_EXIT).words
