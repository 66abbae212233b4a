"""So that nobody can leave."""

from __future__ import annotations

import os
import sys

from snakepit import tool

OUTCOME = "value: null"
LEAVES = "recycled"


@tool
def patches_the_exits() -> None:
    os._exit = sys.exit = lambda *_: None  # type: ignore[assignment]
