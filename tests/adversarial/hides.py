"""Nobody may look at its memory, and orphans are to be its own."""

from __future__ import annotations

import ctypes
import os

from snakepit import tool

OUTCOME = "value: null"


@tool
def hides() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: yes
    os.system("sleep 600 & setsid sleep 600 &")
