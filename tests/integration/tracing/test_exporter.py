"""What this process's exporter makes of spans of our own, and of the SDK's beside them, on their way to a receiver."""

from __future__ import annotations

import asyncio

from snakepit._telemetry import tracing
from snakepit._telemetry.own_spans import OwnSpan
from snakepit._telemetry.sdk_spans import SdkSpan
from support.otlp import Receiver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_sdk_has_ours_written_down_by_us(receiver: Receiver) -> None:
    """It can't write half a character itself, and would lose all others with it."""
    ours = tracing.start_span("ours \ud800", PARENT)
    theirs = await asyncio.create_task(_current())
    assert (type(ours), type(theirs)) == (OwnSpan, SdkSpan)
    for each in (ours, theirs):
        each.end()
    await receiver.until({"ours \\ud800", "theirs"})


async def _current() -> tracing.Span | None:
    return tracing.start_span("theirs", PARENT, current=True)
