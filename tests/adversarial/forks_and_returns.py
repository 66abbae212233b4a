"""Both return from the tool."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: true"


@tool
def forks_and_returns() -> bool:
    return bool(os.fork())
