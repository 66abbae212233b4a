"""Adapters whose import leaves what a fork would break: a thread, and a connection."""

import os
import socket
import threading

from snakepit import Adapter, tool

if os.environ.get("LEAVE_A_THREAD"):
    threading.Thread(target=threading.Event().wait, name="refresher", daemon=True).start()
connection = socket.socket(type=socket.SOCK_DGRAM)
connection.connect(("127.0.0.1", 9))


class Connected(Adapter):
    """It has a connection from its import on."""

    @tool
    def pid(self) -> int:
        return os.getpid()
