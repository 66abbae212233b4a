"""Progress with a lone surrogate, as of a file name that is no UTF-8."""

from __future__ import annotations

from snakepit import Context, tool

OUTCOME = "value: null"


@tool
def reports_what_can_not_be_sent(*, ctx: Context) -> None:
    ctx.progress(0.5, "\udcff")
