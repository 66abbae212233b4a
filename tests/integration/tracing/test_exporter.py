"""What this process's exporter makes of spans of our own, and of the SDK's beside them, on their way to a receiver."""

from __future__ import annotations

import asyncio
import socket

import pytest

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


async def test_who_ends_does_not_wait_for_a_collector_that_takes_connections_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        assert tracing.configure("tested")
        span = tracing.start_span("ours", PARENT)
        assert span is not None
        span.end()
        async with asyncio.timeout(20):
            await asyncio.to_thread(tracing.shutdown)
