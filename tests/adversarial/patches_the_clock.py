"""And what reads and writes JSON."""

from __future__ import annotations

import json
import os
import time

from snakepit import tool

OUTCOME = "value: null"


@tool
def patches_the_clock() -> None:
    json.dumps = json.loads = os.read = os.write = None
    time.monotonic = time.time = time.time_ns = lambda: 0
