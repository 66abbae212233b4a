"""What one caller may have of a pool's sessions, beside others of the same pool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snakepit.errors import CallerLimit, SessionQuota
from snakepit_control_plane.server import Running
from support.callers import ADA
from support.control_plane import Caller, counted
from support.simulated_agent import POOL, settings


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


async def test_one_caller_alone_fills_all_but_a_ninth_of_a_pools_sessions_and_the_next_finds_a_place(
    server: Running, ada_and_bob: tuple[Caller, Caller]
) -> None:
    server.fleet.sync([settings(session={"maxSessions": 18})], complete=True, drain=[])
    ada, bob = ada_and_bob
    outcomes = await asyncio.gather(*(ada.create(f"a{number}") for number in range(20)), return_exceptions=True)
    told = [each for each in outcomes if isinstance(each, CallerLimit)]
    assert len(told) == 4
    assert str(told[0]).startswith(f"{ADA} has 16 of the 18 sessions of pool {POOL}, ")
    await bob.create("b")
    await bob.create("c")
    with pytest.raises(SessionQuota):
        await bob.create("d")
    for limit, times in (("session.maxPerCaller", 4), ("session.maxSessions", 1)):
        assert counted(server, "snakepit_sessions_refused_total", pool=POOL, limit=limit) == times


async def test_a_pool_says_how_many_sessions_each_of_its_callers_may_have(server: Running, ada_and_bob: tuple[Caller, Caller]) -> None:
    server.fleet.sync([settings(session={"maxPerCaller": 2})], complete=True, drain=[])
    ada, bob = ada_and_bob
    await ada.create("1")
    await ada.create("2", group="system:serviceaccounts:shop")
    with pytest.raises(CallerLimit) as limited:
        await ada.create("3")
    assert limited.value.details == {"limit": "session.maxPerCaller", "sessions": "2"}
    assert limited.value.started == "no"
    await bob.create("3")
