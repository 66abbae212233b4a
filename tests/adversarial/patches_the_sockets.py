"""Of everybody in this process."""

from __future__ import annotations

import socket

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"


@tool
def patches_the_sockets() -> None:
    def fail(*_: object) -> None:
        raise ValueError("patched")

    socket.socket.recv = socket.socket.recvmsg_into = socket.socket.send = socket.socket.sendall = fail
