"""Which our own code needs too."""

from __future__ import annotations

import builtins

from snakepit import tool

OUTCOME = "WORKER_LOST: worker * died during the call: exit code 113 (*)"


@tool
def patches_the_builtins() -> None:
    builtins.len = builtins.isinstance = None
