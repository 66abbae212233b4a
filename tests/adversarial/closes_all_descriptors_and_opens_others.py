"""New sockets get the numbers of those that it closed."""

from __future__ import annotations

import os
import socket

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"
mine: list[object] = []


@tool
def closes_all_descriptors_and_opens_others() -> None:
    os.closerange(3, 4096)
    mine.append([socket.socketpair() for _ in range(8)])
