"""And doesn't say what is to happen then."""

from __future__ import annotations

import signal
import time

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 14 (SIGALRM: alarm clock)"


@tool
def sets_an_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(60)
