"""Progress with a lone surrogate: the call's own fault, and no other call's."""

from __future__ import annotations

from snakepit import Context, tool

OUTCOME = "ToolError: UnicodeEncodeError: *surrogates not allowed"


@tool
def reports_what_can_not_be_sent(*, ctx: Context) -> None:
    ctx.progress(0.5, "\udcff")
