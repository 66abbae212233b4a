"""Asks not to die with its parent, and kills that."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: the worker's container ended"
# Since Linux 6.12 nobody signals a process outside its box.
OR_ELSE = "ToolError: PermissionError: [[]Errno 1] Operation not permitted"


@tool
def slips_its_leash() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: none
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
