"""It can't be told anything any more."""

from __future__ import annotations

import os
import signal

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
TIMEOUT = 0.2


@tool
def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
