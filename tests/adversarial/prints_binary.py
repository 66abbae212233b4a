"""And a line without an end."""

from __future__ import annotations

import os
import sys

from snakepit import tool

OUTCOME = "value: null"


@tool
def prints_binary() -> None:
    os.write(1, bytes(range(256)) * 40)
    sys.stdout.write("x" * 3_000_000)
    sys.stdout.write('{"level": "a lie"}')
