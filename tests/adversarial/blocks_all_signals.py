"""Also the one that interrupts it."""

from __future__ import annotations

import signal
import time

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
TIMEOUT = 0.2


@tool
def blocks_all_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)
