"""What a scrape says of calls: how many there were, how they ended, and where their time went."""

from __future__ import annotations

import asyncio
import time

import pytest

from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane import telemetry
from snakepit_control_plane.server import Running
from support.control_plane import Caller, eventually, outcome, scrape, waiting
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import Tool, echo, hang, payload


async def test_a_call_is_counted_by_tool_and_its_time_is_divided_into_phases(server: Running, caller: Caller) -> None:
    async def slow(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await agent.gate.wait()
        return link_pb2.Result(payload=call.arguments, run_seconds=0.0001)

    async with simulated_agent(server.address, tools={"slow": slow}) as agent:
        before = time.monotonic()
        calls = [caller.start("slow") for _ in range(2)]
        await eventually(lambda: waiting(server) == 1)
        agent.let_go()
        await asyncio.gather(*calls)
        most = time.monotonic() - before
        found = await scrape(server)
    assert found["snakepit_calls_total", ("OK", "slow")] == 2
    name = "snakepit_call_phase_duration_seconds"
    sums = {phase: found[f"{name}_sum", (phase, "slow")] for phase in ("queue", "run", "overhead")}
    assert {found[f"{name}_count", (phase, "slow")] for phase in sums} == {2}
    assert sums["run"] == pytest.approx(0.0002)
    assert 0 < sums["queue"] < most
    assert sum(sums.values()) == pytest.approx(found["snakepit_call_duration_seconds_sum", ("slow",)])


async def test_a_key_runs_once_in_the_phases_and_waits_in_the_queue_as_any_call_does(server: Running, caller: Caller) -> None:
    async def keyed(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        return link_pb2.Result(payload=call.arguments, run_seconds=0.0001)

    async with simulated_agent(server.address, tools={"hang": hang, "keyed": keyed}) as agent:
        busy = caller.start("hang")
        await eventually(lambda: agent.running)
        before = time.monotonic()
        first = caller.start("keyed", idempotency_key="a-key-of-sixteen-or-more")
        await eventually(lambda: waiting(server) == 1)
        queued = time.monotonic()
        joined = [caller.start("keyed", idempotency_key="a-key-of-sixteen-or-more") for _ in range(2)]
        await eventually(lambda: server.flow.pools[POOL].queue.joined == 2)
        least = time.monotonic() - queued
        agent.let_go()
        await asyncio.gather(busy, first, *joined)
        await caller.call("keyed", idempotency_key="a-key-of-sixteen-or-more")
        most = time.monotonic() - before
        found = await scrape(server)
    name = "snakepit_call_phase_duration_seconds"
    assert found["snakepit_calls_total", ("OK", "keyed")] == 4
    assert {found[f"{name}_count", (phase, "keyed")] for phase in ("queue", "run", "overhead")} == {1}
    assert found[f"{name}_sum", ("run", "keyed")] == pytest.approx(0.0001)
    assert least < found[f"{name}_sum", ("queue", "keyed")] < most
    (history,) = [pool.records.history for pool in server.flow.pools.values() if pool.records is not None]
    assert sum(sum(minute.queue_seconds) for minute in history.minutes) == 1


@pytest.mark.parametrize("result_first", [True, False])
async def test_a_stream_has_run_until_its_tool_ended_whether_its_result_or_its_last_chunk_comes_first(
    server: Running, caller: Caller, result_first: bool
) -> None:
    pipes: list[asyncio.Task[int]] = []

    async def letters(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        pipes.append(asyncio.create_task(agent.pipe(call, [link_pb2.Chunk(payload=payload("a")), link_pb2.Chunk(index=1, last=True)])))
        if not result_first:
            await agent.gate.wait()
        return link_pb2.Result(run_seconds=0.0001)

    async with simulated_agent(server.address, tools={"letters": letters}) as agent:
        stream = caller.stream("letters", {})
        await stream.read()
        if result_first:
            await eventually(lambda: not agent.running)
        assert (await stream.read()).last
        await eventually(lambda: not server.flow.calls.count)
        found = await scrape(server)
        agent.let_go()
        await asyncio.gather(*pipes)
        records = server.flow.pools[POOL].records
        assert records is not None
        (record,) = records
    name = "snakepit_call_phase_duration_seconds"
    sums = {phase: found[f"{name}_sum", (phase, "letters")] for phase in ("queue", "run", "overhead")}
    assert {found[f"{name}_count", (phase, "letters")] for phase in sums} == {1}
    assert (sums["run"] == pytest.approx(0.0001)) == result_first
    assert sums["run"] == pytest.approx(record.run_seconds)
    assert 0 < sums["run"] <= found["snakepit_call_duration_seconds_sum", ("letters",)]


async def test_a_call_that_runs_again_has_waited_for_its_first_run_too(server: Running, caller: Caller) -> None:
    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        if len(agent.calls) == 2:
            asyncio.get_running_loop().call_soon(agent.replace_worker, call.worker)
            await asyncio.Event().wait()
        return link_pb2.Result(run_seconds=0.0001)

    async with simulated_agent(server.address, tools={"hang": hang, "fatal": fatal}, idempotent=frozenset({"fatal"})) as agent:
        busy = caller.start("hang")
        await eventually(lambda: agent.running)
        again = caller.start("fatal")
        await eventually(lambda: waiting(server) == 1)
        queued = time.monotonic()
        await caller.create("s")  # Something takes its time meanwhile.
        least = time.monotonic() - queued
        agent.let_go()
        await asyncio.gather(busy, again)
        found = await scrape(server)
    assert [call.tool for call in agent.calls] == ["hang", "fatal", "fatal"]
    name = "snakepit_call_phase_duration_seconds"
    assert found[f"{name}_sum", ("queue", "fatal")] >= least
    (history,) = [pool.records.history for pool in server.flow.pools.values() if pool.records is not None]
    assert sum(sum(minute.queue_seconds) for minute in history.minutes) == 1


@pytest.mark.parametrize("key", ["", "k"])
@pytest.mark.parametrize(
    ("reason", "started", "ran"), [("WORKER_LOST", "MAYBE", True), ("DEADLINE", "YES", True), ("DEADLINE", "NO", False)]
)
async def test_a_call_that_ends_without_its_tools_word_has_run_until_then_if_it_had_begun(
    server: Running, caller: Caller, reason: str, started: str, ran: bool, key: str
) -> None:
    async def ends(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await agent.gate.wait()
        return link_pb2.Result(error=common_pb2.Error(reason=reason, started=common_pb2.Started.Value(f"STARTED_{started}")))

    async with simulated_agent(server.address, tools={"ends": ends}) as agent:
        call = caller.start("ends", idempotency_key=key)
        await eventually(lambda: agent.running)
        await caller.create("s")  # Something takes its time meanwhile.
        agent.let_go()
        await outcome(call)
        found = await scrape(server)
    name = "snakepit_call_phase_duration_seconds"
    sums = [found[f"{name}_sum", (phase, "ends")] for phase in ("queue", "run", "overhead")]
    assert {found[f"{name}_count", (phase, "ends")] for phase in ("queue", "run", "overhead")} == {float(ran)}
    assert sum(sums) == pytest.approx(found["snakepit_call_duration_seconds_sum", ("ends",)] if ran else 0)


async def test_a_call_whose_caller_has_gone_has_run_until_then(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        call = caller.start("hang")
        await eventually(lambda: agent.running)
        await caller.create("s")
        call.cancel()
        await eventually(lambda: server.telemetry.calls.value(POOL, "hang", "CANCELLED"))
        found = await scrape(server)
        records = server.flow.pools[POOL].records
        assert records is not None
        (record,) = records
        agent.let_go()
    assert record.run_seconds > 0
    assert found["snakepit_call_phase_duration_seconds_sum", ("run", "hang")] == pytest.approx(record.run_seconds)


async def test_a_call_that_never_ran_has_no_phases(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        await outcome(caller.start("no-such-tool"))
        found = await scrape(server)
    assert found["snakepit_call_duration_seconds_count", ("",)] == 1
    assert not [labels for name, labels in found if name.startswith("snakepit_call_phase") and found[name, labels]]


async def test_tools_beyond_the_most_are_counted_together(server: Running, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MOST_TOOLS", 2)
    tools: dict[str, Tool] = dict.fromkeys("abcd", echo)
    async with simulated_agent(server.address, tools=tools):
        for name in "abcda":
            await caller.call(name)
        found = await scrape(server)
    counts = {labels[1]: value for (name, labels), value in found.items() if name == "snakepit_calls_total"}
    assert counts == {"a": 2, "b": 1, "other": 2}
    assert found["snakepit_call_duration_seconds_count", ("other",)] == 2
