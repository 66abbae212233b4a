"""The test's own process traces, and a receiver has its spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from snakepit._telemetry import tracing
from support.otlp import Receiver, receiving


@pytest.fixture
def sampler() -> dict[str, str]:
    """Variables that say what is sampled; a module's own say something else than: each."""
    return {}


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch, sampler: dict[str, str]) -> AsyncIterator[Receiver]:
    """To be asked for first: what is started later traces. `arrived` sends what has ended so far."""
    async with receiving() as made:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{made.port}", "OTEL_EXPORTER_OTLP_INSECURE": "true"}
        for name, value in {**variables, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRICS_EXPORTER": "none", **sampler}.items():
            monkeypatch.setenv(name, value)
        assert tracing.configure("tested")
        try:
            yield made
        finally:
            await asyncio.to_thread(tracing.shutdown)
