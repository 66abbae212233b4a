"""A pool's objectives: what calls did to them, as its callers and the operator are told."""

from __future__ import annotations

import asyncio
import json

import pytest

import snakepit
from snakepit.cli.app import run
from snakepit.client import asking
from snakepit.errors import PoolSaturated, ToolNotFound
from snakepit_control_plane.server import Running
from support.control_plane import Caller, calling, eventually, replica, waiting
from support.metrics import scrape
from support.simulated_agent import POOL, settings, simulated_agent

PROMISED = settings(queue={"maxSize": 2, "timeoutSeconds": 60}, slo={"availabilityPercent": 50, "latencyMilliseconds": 60_000})


async def test_calls_count_against_what_their_pool_has_promised(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=PROMISED) as agent:
        calls = [caller.start("hang") for _ in range(3)]
        await eventually(lambda: waiting(server) == 2)
        with pytest.raises(PoolSaturated):
            await caller.call("hang")
        with pytest.raises(ToolNotFound):
            await caller.call("no_such_tool")
        agent.let_go()
        await asyncio.gather(*calls)
        async with snakepit.Client(server.address) as client:
            info, listed = await client.pool(POOL).info(), await client.pools()
        assert [(each.name, each.calls, each.bad_calls) for each in info.objectives] == [("availability", 4, 1), ("latency", 4, 0)]
        assert info.budget_left_percent == 50
        told = await scrape(server.metrics_address)
        for objective, bad, target in (("availability", 1, 0.5), ("latency", 0, 0.99)):
            labels = {"objective": objective, "pool": POOL}
            assert told["snakepit_slo_calls_total", labels] == 4
            assert told["snakepit_slo_bad_calls_total", labels] == bad
            assert told["snakepit_slo_target_ratio", labels] == target
        assert [each.objectives for each in listed] == [info.objectives]


async def test_a_pool_that_promises_nothing_counts_nothing(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        await caller.call("echo")
        async with snakepit.Client(server.address) as client:
            info = await client.pool(POOL).info()
        assert info.objectives == ()
        assert (await scrape(server.metrics_address)).names("snakepit_slo_") == set()
        assert info.budget_left_percent is None


async def test_the_command_line_says_what_all_replicas_have_counted_and_whose_counts_are_missing(
    server: Running, caller: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    promised = settings(slo={"availabilityPercent": 50})
    async with (
        replica() as other,
        calling(other.address) as elsewhere,
        simulated_agent(server.address, settings=promised),
        simulated_agent(other.address, settings=promised),
    ):
        await caller.call("echo")
        for _ in range(2):
            await elsewhere.call("echo")
        both = f"{server.address},{other.address}"
        assert await asyncio.to_thread(run, ["pools", "--server", both, "-o", "json"]) == 0
        (info,) = json.loads(capsys.readouterr().out)
        assert [(each["name"], each["calls"], each["budgetLeftPercent"]) for each in info["objectives"]] == [("availability", 3, 100)]

        stuck = asyncio.Event()

        async def check(*_: object) -> None:
            await stuck.wait()

        monkeypatch.setattr(asking, "ALL_SECONDS", 0.5)
        monkeypatch.setattr(other.door.access, "check", check)  # Of a pool; to list them all asks for no right of one.
        assert await asyncio.to_thread(run, ["pools", "--server", both, "-o", "json"]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)[0]["objectives"][0]["calls"] == 1
        assert json.loads(told.err)["warning"]["message"] == (
            f"no answer from {other.address}: what it has counted for BUDGET is missing here"
        )
        stuck.set()
