"""Eleven bytes into the outbox: a message whose text is no UTF-8."""

from __future__ import annotations

import os
import stat
import time

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: signal 9 *: the outbox can't be read: not a frame of this channel: 'utf-8' *"


@tool
def says_what_is_no_text() -> None:
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), b"\x00\x00\x00\x07\x91\x92\xa4\xff\xfe\xff\xfe")
        except OSError:
            pass
    time.sleep(60)  # a tool that has ended has its result, whatever becomes of its worker
