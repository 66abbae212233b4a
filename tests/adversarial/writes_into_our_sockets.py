"""Into every socket of the process."""

from __future__ import annotations

import os
import stat

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 (SIGKILL: killed): the outbox can't be read: *"
# The tool had ended, and its result waited in the worker's memory, where it is read after the worker's death.
OR_ELSE = "value: null"


@tool
def writes_into_our_sockets() -> None:
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), b"\xff" * 100)
        except OSError:
            pass
