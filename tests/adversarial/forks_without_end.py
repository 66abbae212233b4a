"""Each child has a child, and ends."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: null"


@tool
def forks_without_end() -> None:
    if os.fork():
        return
    while True:
        if os.fork():
            os._exit(0)
