"""From now on."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: null"


@tool
def makes_unreadable_files() -> None:
    os.umask(0o777)
