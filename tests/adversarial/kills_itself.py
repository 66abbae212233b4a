"""With the signal that nobody catches."""

from __future__ import annotations

import os
import signal

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 (SIGKILL: killed)"


@tool
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
