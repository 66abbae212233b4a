"""The child speaks in its parent's name."""

from __future__ import annotations

import os

from snakepit import Context, tool

OUTCOME = "value: 1"


@tool
def forks_and_uses_ctx(*, ctx: Context) -> int:
    child = os.fork()
    if not child:
        ctx.progress(0.5, "half")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
