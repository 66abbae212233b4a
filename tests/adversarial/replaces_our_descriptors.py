"""Something else is where our sockets were."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"


@tool
def replaces_our_descriptors() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            os.dup2(null, int(name))
