"""As an impatient script does."""

from __future__ import annotations

import os
import signal
import time

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 15 (SIGTERM: terminated)"


@tool
def terminates_itself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
