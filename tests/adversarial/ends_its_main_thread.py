"""And nothing else of the process: to the kernel it is a zombie that lives."""

from __future__ import annotations

import ctypes
import platform

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and worker * was ended: exit code 113 (*)"
TIMEOUT = 0.2


@tool
def ends_its_main_thread() -> None:
    exit_of_one_thread = {"x86_64": 60}.get(platform.machine(), 93)
    ctypes.CDLL(None).syscall(exit_of_one_thread, 0)
