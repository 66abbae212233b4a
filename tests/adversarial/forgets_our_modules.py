"""As if none of ours had been imported."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "value: null"


@tool
def forgets_our_modules() -> None:
    for name in [name for name in sys.modules if name.startswith("snakepit")]:
        del sys.modules[name]
