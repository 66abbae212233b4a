"""How a worker's process ended, for programs and in words. Pure."""

from __future__ import annotations

import itertools
import re
import signal
from typing import NamedTuple

from snakepit._ipc.worker import CHANNEL_EXIT

FATAL = "Fatal Python error"
"""How faulthandler begins when a signal is about to end the process."""

_CURRENT = re.compile(r'^Current thread .*\n((?:  File ".*\n?)+)', re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_OURS = "/snakepit_worker/"
_LIBRARY = re.compile(r"/lib/python3[^/]*/|/(site|dist)-packages/|/sdk/src/snakepit/|^<")
"""Files of the standard library, of whatever is installed, and of our own SDK."""


class Exit(NamedTuple):
    """`how`: one of few values, for programs: exit code N, signal N, oom. `words`: the same with what is known about it."""

    how: str
    words: str


CONTAINER_ENDED = Exit("the worker's container ended", "the worker's container ended")
CONTAINER_OUT_OF_MEMORY = Exit("oom", "the worker's container ran out of memory, and the kernel killed all of it")
_OUT_OF_MEMORY = Exit("oom", "out of memory: the kernel killed it")


def exited(code: int) -> Exit:
    """How a process that ended by itself, with this exit code, is told of."""
    how = f"exit code {code}"
    if code == CHANNEL_EXIT:
        return Exit(how, f"{how} (the tool closed or replaced a descriptor of the worker's own, or code that the worker needs)")
    return Exit(how, f"{how} (its own code ended the process)")


def killed(number: int, stacks: str, fault: str, *, oom: bool) -> Exit:
    """By a signal. `stacks`: what faulthandler wrote; `fault`: why we sent it, if we did."""
    how = f"signal {number}"
    if fault and number in (signal.SIGTERM, signal.SIGKILL):
        return Exit(how, f"{how} ({_named(number)}): {fault}")
    if oom:
        return _OUT_OF_MEMORY
    return Exit(how, f"{how} ({_named(number)}){_last_line(stacks[stacks.rfind(FATAL) :])}")


def _last_line(stacks: str) -> str:
    """The author's, and what it had called. Where the adapter is an installed package itself, the line of the tool."""
    current = _CURRENT.search(stacks)
    frames = [(path, line, name) for path, line, name in _FRAME.findall(current[1] if current else "")]
    theirs = list(itertools.takewhile(lambda frame: _OURS not in frame[0], frames)) or frames
    if not theirs:
        return ""
    outermost = theirs[-1] if len(theirs) < len(frames) else theirs[0]  # of a thread it would be the threading module's
    own = next((each for each in theirs if not _LIBRARY.search(each[0])), outermost)
    inside = f" (which had called {_place(theirs[0])})" if theirs[0] != own else ""
    return f"; its last line of Python: {_place(own)}{inside}"


def _place(frame: tuple[str, str, str]) -> str:
    path, line, name = frame
    return f"{path}, line {line}, in {name}"


def _named(number: int) -> str:
    """A signal in words, as in SIGSEGV: segmentation fault."""
    text = (signal.strsignal(number) or "unknown").lower()
    try:
        return f"{signal.Signals(number).name}: {text}"
    except ValueError:  # most of the real-time signals
        return text
