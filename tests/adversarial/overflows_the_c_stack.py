"""A callback in C that calls itself, with nothing that counts how deep."""

from __future__ import annotations

import ctypes
import sys

from snakepit import tool

OUTCOME = "WORKER_LOST: * died during the call: signal 11 (SIGSEGV: segmentation fault); its last line of Python: *, in deeper"


@tool
def overflows_the_c_stack() -> None:
    @ctypes.PYFUNCTYPE(None)
    def deeper() -> None:
        deeper()

    sys.setrecursionlimit(1_000_000_000)
    deeper()
