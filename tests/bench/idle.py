"""What an agent costs: CPU and memory with 1, 16 and 64 workers, when nothing happens and when everything does; and what the heartbeats
of a thousand agents cost a control-plane replica. CPU time is the kernel's count, so that it holds on a busy machine too.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import snakepit
from tests.bench.births import ready, replica, spec
from tests.bench.capacity import POOLS, in_groups
from tests.bench.cpu import ran_seconds, resident_mib, wake_ups
from tests.bench.plane import ADAPTER, BUILD, POOL, Plane, until_up
from tests.bench.rounds import RUN, TEXT, Load, closed_loop, say
from tests.bench.rows import Row, Target
from tests.support.simulated_agent import SimulatedAgent, settings

WORKERS = (1, 16, 64)
IDLE_SECONDS = 10.0
IDLE_SHARE = 0.5
"""Of one CPU, in percent."""

AGENT_MIB = 64
CALLERS = 256
CALL_US = 30
AGENTS = 1_000
BEAT_SECONDS = 2.0
BEAT_US = 200
LINKED_SECONDS = 60.0
BARE = "import asyncio, grpc, uvloop; uvloop.run(asyncio.sleep(60))"
"""What an agent could not do without."""


async def agent_rows() -> list[Row]:
    bare = await _bare_mib()
    return [row for workers in WORKERS for row in await _agent(workers, bare)]


async def _bare_mib() -> float:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE)
    await asyncio.sleep(3)
    found = resident_mib(process.pid)
    process.kill()
    await process.wait()
    return found


async def _agent(workers: int, bare: float) -> list[Row]:
    async with replica() as (plane, client):
        plane.start_capsule(spec(ADAPTER, workers, "fork"))
        pool = client.pool(POOL)
        await ready(pool, workers)
        pid = plane.agents[0].pid
        call = partial(pool.call, "echo", {"text": TEXT}, timeout=30)
        await closed_loop(call, CALLERS, 1.0)
        await asyncio.sleep(2.0)
        idle = await _while(pid, partial(asyncio.sleep, IDLE_SECONDS))
        rested = resident_mib(pid)
        loads: list[Load] = []

        async def work() -> None:
            loads.append(await closed_loop(call, CALLERS, 4.0))

        busy = await _while(pid, work)
        full = resident_mib(pid)
    calls = len(loads[0].latencies)
    name = f"{workers} worker{'s' * (workers > 1)}"
    say(f"agent, {name}: idle {idle}, busy {busy}, {calls} calls, RSS {rested:.0f}, {full:.0f} MiB")
    share = idle[0] * 100
    each = busy[0] * busy[2] / calls * 1e6
    return [
        Row(
            what=f"agent's CPU, {name}, idle",
            figure=share,
            unit="%",
            value=share,
            target=Target("≤", IDLE_SHARE, "%"),
            note=f"of one CPU; {idle[1]:.0f} wake-ups a second",
        ),
        Row(
            what=f"agent's CPU a call, {name} at full load",
            figure=each,
            unit="µs",
            value=each,
            target=Target("≤", CALL_US, "µs"),
            note=f"{loads[0].per_second:,.0f} calls/s, {busy[0] * 100:.0f} % of one CPU",
        ),
        Row(
            what=f"agent's memory (RSS), {name} at full load",
            figure=full,
            unit="MiB",
            baseline=bare,
            against="grpc and uvloop alone",
            value=full,
            target=Target("≤", AGENT_MIB, "MiB"),
            note=f"{rested:.0f} MiB idle",
        ),
    ]


async def _while(pid: int, work: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """CPUs that the process used meanwhile, its wake-ups a second, and how long it took in seconds."""
    began, ran, woken = time.perf_counter(), ran_seconds(pid), wake_ups(pid)
    await work()
    took = time.perf_counter() - began
    return (ran_seconds(pid) - ran) / took, (wake_ups(pid) - woken) / took, took


# ---- heartbeats


async def beat_rows() -> list[Row]:
    """The same links, silent and beating: the difference is what beats cost."""
    BUILD.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        plane = Plane(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.push_async_callback(plane.end)
        address = plane.start_replica()
        client = await stack.enter_async_context(snakepit.Client(address, connect_timeout=LINKED_SECONDS))
        await until_up(client)
        agents = [simulated(address, number) for number in range(AGENTS)]
        for agent in agents:
            stack.push_async_callback(agent.stop)
        await in_groups(agent.start(LINKED_SECONDS) for agent in agents)
        pid = plane.replicas[address].pid
        beating = await _while(pid, partial(asyncio.sleep, IDLE_SECONDS))
        for agent in agents:
            agent.silent = True
        await asyncio.sleep(BEAT_SECONDS)
        silent = await _while(pid, partial(asyncio.sleep, IDLE_SECONDS))
    say(f"heartbeats: {beating} with, {silent} without")
    cost = (beating[0] - silent[0]) * 1e6 / (AGENTS / BEAT_SECONDS)
    return [
        Row(
            what=f"control plane's CPU with heartbeats of {AGENTS:,} agents",
            figure=beating[0] * 100,
            unit="%",
            baseline=silent[0] * 100,
            against="the same links, silent",
            value=cost,
            target=Target("≤", BEAT_US, "µs"),
            note=f"of one CPU; two workers an agent, one beat in {BEAT_SECONDS:g} s; the target is of one beat",
        )
    ]


def simulated(address: str, number: int) -> SimulatedAgent:
    """One that may be silent for a while without being given up."""
    pool = f"default/bench-{number % POOLS}"
    patient = settings(pool, heartbeat={"timeoutSeconds": 300, "intervalSeconds": BEAT_SECONDS, "missThreshold": 100})
    return SimulatedAgent(address, name=f"capsule-{number}", pool=pool, workers=2, beat_seconds=BEAT_SECONDS, settings=patient)


if __name__ == "__main__":
    from tests.bench.__main__ import show

    groups = {"agent": agent_rows, "beats": beat_rows}
    for word in sys.argv[1:] or groups:
        show(RUN(groups[word]()))
