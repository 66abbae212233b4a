"""Which replicas a client links to, and which of them gets a call. Real replicas; the name's addresses are the test's to change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from snakepit import Client
from snakepit._wire import dial
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import eventually, replica
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent

NAME = "dns:///replicas:7800"
pytestmark = pytest.mark.timeout(50)

Publish = Callable[..., None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Say which replicas the name stands for; it is looked up every few milliseconds."""
    found: set[str] = set()
    real = dial.resolve

    async def resolve(target: str) -> set[str]:
        return set(found) if target == NAME else await real(target)

    def are(*replicas: Running) -> None:
        found.clear()
        found.update(each.address for each in replicas)

    monkeypatch.setattr(dial, "resolve", resolve)
    monkeypatch.setattr(dial, "RESOLVE_SECONDS", 0.02)
    return are


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Running, Running, SimulatedAgent, SimulatedAgent]]:
    """Each with an agent of its own, so that where a call ran says which replica it went through."""
    store = MemoryStore()
    async with (
        replica(store) as first,
        replica(store) as second,
        simulated_agent(first.address, name="a", slots=8) as a,
        simulated_agent(second.address, name="b", slots=8) as b,
    ):
        yield first, second, a, b


def linked(client: Client) -> set[str]:
    return {peer.replica.address for peer in client._connection.peers}


async def test_an_address_that_appears_is_linked_and_gets_its_share(publish: Publish) -> None:
    async with two() as (first, second, a, b):
        publish(first)
        async with Client(NAME) as client:
            pool = client.pool(POOL)
            await pool.call("echo", {}, timeout=10)
            assert linked(client) == {first.address}
            publish(first, second)
            await eventually(lambda: linked(client) == {first.address, second.address}, "the second is linked")
            for _ in range(10):
                await pool.call("echo", {}, timeout=10)
    assert (len(a.calls), len(b.calls)) == (6, 5)


async def test_an_address_that_has_gone_keeps_its_link_while_it_works_and_is_given_up_when_it_breaks(publish: Publish) -> None:
    async with two() as (first, second, _a, _b):
        publish(first, second)
        async with Client(NAME) as client:
            await eventually(lambda: len(linked(client)) == 2, "both are linked")
            dialler = client._connection._dialer
            publish(second)
            dialler._again.set()  # It looks once more, and sees the change.
            await eventually(lambda: not dialler._again.is_set(), "it has looked")
            assert linked(client) == {first.address, second.address}
            assert await client.pool(POOL).call("echo", {"value": 1}, timeout=10) == {"value": 1}
            await first._grpc.stop(0)
            await eventually(lambda: dialler._dialling.keys() == {second.address}, "the first is dialled no more")
            assert linked(client) == {second.address}


async def test_a_name_that_cant_be_looked_up_just_now_costs_no_link(publish: Publish) -> None:
    async with two() as (first, second, _a, _b):
        publish(first, second)
        async with Client(NAME) as client:
            await eventually(lambda: len(linked(client)) == 2, "both are linked")
            dialler = client._connection._dialer
            publish()
            dialler._again.set()
            await eventually(lambda: not dialler._again.is_set(), "it has looked")
            cut = client._connection.peers
            for peer in cut:
                peer.link.close("the test cuts it")
            await eventually(lambda: not {*cut} & {*client._connection.peers}, "all links are broken")
            await eventually(lambda: len(linked(client)) == 2, "and they are dialled again all the same")


async def test_calls_take_turns_between_the_replicas() -> None:
    async with two() as (first, second, a, b), Client(f"{first.address},{second.address}") as client:
        await eventually(lambda: len(linked(client)) == 2, "both are linked")
        pool = client.pool(POOL)
        await asyncio.gather(*[pool.call("echo", {}, timeout=10) for _ in range(40)])
    assert Counter(call.worker for agent in (a, b) for call in agent.calls) == {"a/0": 20, "b/0": 20}


async def test_a_replica_that_says_that_it_will_stop_gets_no_call_any_more_and_finishes_those_it_has() -> None:
    async with two() as (first, second, a, b), Client(f"{first.address},{second.address}") as client:
        await eventually(lambda: len(linked(client)) == 2, "both are linked")
        pool = client.pool(POOL)
        running = [asyncio.create_task(pool.call("hang", timeout=20)) for _ in range(4)]
        await eventually(lambda: len(a.running) == len(b.running) == 2, "they run")
        stopping = asyncio.create_task(first.stop(linger=0, drain=20))
        await eventually(lambda: len(client._connection._usable) == 1, "the client was told")
        assert [await pool.call("echo", {"value": n}, timeout=10) for n in range(20)] == [{"value": n} for n in range(20)]
        assert (len(a.calls), len(b.calls)) == (2, 22)
        a.let_go(), b.let_go()
        assert await asyncio.gather(*running) == ["late"] * 4
        await stopping
