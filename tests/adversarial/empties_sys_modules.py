"""As if nothing had been imported."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "value: null"


@tool
def empties_sys_modules() -> None:
    sys.modules.clear()
