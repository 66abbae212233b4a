"""No descriptor is closed, and nothing can be said through any."""

from __future__ import annotations

import ctypes
import os
import socket

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"


@tool
def shuts_our_sockets() -> None:
    for each in os.listdir("/proc/self/fd"):
        ctypes.CDLL(None).shutdown(int(each), socket.SHUT_RDWR)
