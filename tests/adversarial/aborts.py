"""Ends the process as a failed assertion in C does."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: * died during the call: signal 6 (SIGABRT: aborted); its last line of Python: *, in aborts"


@tool
def aborts() -> None:
    os.abort()
