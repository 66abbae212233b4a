"""Which Python would wait for at the end."""

from __future__ import annotations

import threading
import time

from snakepit import tool

OUTCOME = "value: null"
LEAVES = "recycled"


@tool
def starts_endless_threads() -> None:
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(600,)).start()
