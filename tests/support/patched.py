"""Does to `threading` what gevent's monkey.patch_all() does: its own in place of Python's."""

import threading

from snakepit import tool


class Lock:
    __module__ = "gevent.thread"


if hasattr(threading, "_allocate_lock"):
    threading.Lock = Lock  # type: ignore[misc, assignment]


@tool
def echo(value: int) -> int:
    return value
