"""No other thread of its process has a turn to see it."""

from __future__ import annotations

import ctypes
import os
import socket
import sys

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 (SIGKILL: killed): its channel to the agent was shut"


@tool
def shuts_our_sockets_and_stays() -> None:
    sys.setswitchinterval(1e6)
    libc = ctypes.PyDLL(None)
    for each in os.listdir("/proc/self/fd"):
        libc.shutdown(int(each), socket.SHUT_RDWR)
    libc.sleep(600)
