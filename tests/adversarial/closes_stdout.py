"""The stream and its descriptor."""

from __future__ import annotations

import os
import sys

from snakepit import tool

OUTCOME = "value: null"


@tool
def closes_stdout() -> None:
    sys.stdout.close()
    os.close(1)
    os.close(2)
