"""Of the whole process."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: null"


@tool
def clears_the_environment() -> None:
    os.environ.clear()
