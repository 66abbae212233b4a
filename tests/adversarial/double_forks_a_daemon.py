"""Out of the group, the session and the family."""

from __future__ import annotations

import os
import time

from snakepit import tool

OUTCOME = "value: null"


@tool
def double_forks_a_daemon() -> None:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setpgid(0, 0)
    while True:
        time.sleep(60)
