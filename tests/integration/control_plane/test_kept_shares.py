"""What one caller may have kept under idempotency keys, beside others of the same replica and store."""

from __future__ import annotations

from typing import Any

import pytest

from snakepit.errors import CallerLimit
from support.callers import ADA
from support.control_plane import Caller
from support.simulated_agent import SimulatedAgent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return {**asking_settings, "max_kept_bytes_per_caller": 20_000}


async def test_who_has_enough_kept_runs_nothing_under_a_new_key_and_its_repeats_and_others_go_on(
    agent: SimulatedAgent, ada_and_bob: tuple[Caller, Caller]
) -> None:
    ada, bob = ada_and_bob
    large = {"value": "x" * 9_000}
    first = await ada.call("echo", large, idempotency_key="0")
    await ada.call("echo", large, idempotency_key="1")
    await ada.call("echo", large, idempotency_key="2")
    with pytest.raises(CallerLimit, match=f"^{ADA} has results of .* bytes kept .* maxKeptBytesPerCaller allows 20000: ") as refused:
        await ada.call("echo", large, idempotency_key="3")
    assert refused.value.details == {"limit": "maxKeptBytesPerCaller", "bytes": "20000"}
    assert refused.value.started == "no"
    assert (await ada.call("echo", large, idempotency_key="0")).incarnation == first.incarnation
    await ada.call("echo", large)
    await bob.call("echo", large, idempotency_key="0")
