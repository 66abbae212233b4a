"""A stream whose generator goes on when it is closed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
TIMEOUT = 0.2


@tool
def refuses_to_close() -> Iterator[None]:
    while True:
        try:
            while True:
                yield time.sleep(0.01)
        except BaseException:
            continue
