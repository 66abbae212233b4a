"""Files that nobody closes."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: null"


@tool
def leaks_descriptors() -> None:
    for _ in range(300):
        os.open(os.devnull, os.O_RDONLY)
