"""How a worker's process ended, for programs and in words. Pure."""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

from snakepit.local.frames import CHANNEL_EXIT

FATAL = "Fatal Python error"
"""How faulthandler begins when a signal is about to end the process."""

_LAST_LINE = re.compile(r'^Current thread .*\n  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)


class Ending(NamedTuple):
    """`how`: one of few values, for programs: exit code N, signal N, oom. `words`: the same with what is known about it."""

    how: str
    words: str


CONTAINER_ENDED = Ending("the worker's container ended", "the worker's container ended")
CONTAINER_OUT_OF_MEMORY = Ending("oom", "the worker's container ran out of memory, and the kernel killed all of it")
_OUT_OF_MEMORY = Ending("oom", "out of memory: the kernel killed it")


def exited(code: int) -> Ending:
    """By itself."""
    how = f"exit code {code}"
    if code == CHANNEL_EXIT:
        return Ending(how, f"{how} (the tool closed or replaced a descriptor of the worker's own, or code that the worker needs)")
    return Ending(how, f"{how} (its own code ended the process)")


def killed(number: int, stacks: str, fault: str, *, oom: bool) -> Ending:
    """By a signal. `stacks`: what faulthandler wrote; `fault`: why we sent it, if we did."""
    how = f"signal {number}"
    if fault and number in (signal.SIGTERM, signal.SIGKILL):
        return Ending(how, f"{how} ({_named(number)}): {fault}")
    if oom:
        return _OUT_OF_MEMORY
    line = _LAST_LINE.search(stacks[stacks.rfind(FATAL) :])
    at = f"; its last line of Python: {line[1]}, line {line[2]}, in {line[3]}" if line else ""
    return Ending(how, f"{how} ({_named(number)}){at}")


def _named(number: int) -> str:
    """SIGSEGV: segmentation fault."""
    text = (signal.strsignal(number) or "unknown").lower()
    try:
        return f"{signal.Signals(number).name}: {text}"
    except ValueError:  # most of the real-time signals
        return text
