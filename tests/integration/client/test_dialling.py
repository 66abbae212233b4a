"""Which replicas a client links to, and which of them gets a call. Real replicas; the name's addresses are the test's to change."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from snakepit import Client, PoolNotFound, ServerUnavailable
from snakepit._retry import Backoff
from snakepit._wire import dial
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import clients, eventually, linked, may_use, replica
from support.ports import free_port
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent, take_turns

PORT = free_port()
NAME = f"dns:///replicas:{PORT}"
FIRST, SECOND = "127.0.0.2", "127.0.0.3"


class Name:
    """A name, and the replicas that it stands for; it is looked up every few milliseconds."""

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._looks = 0

    def __call__(self, *replicas: Running) -> None:
        self._found = {each.address.partition(":")[0] for each in replicas}

    def look(self) -> list[tuple[object, ...]]:
        """As getaddrinfo answers. Raises OSError where there is none."""
        self._looks += 1
        if not self._found:
            raise socket.gaierror(socket.EAI_AGAIN, "the name can't be looked up now")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (each, PORT)) for each in sorted(self._found)]

    async def seen(self) -> None:
        """What the name stands for now has been looked up, and was acted on: it is looked up once more."""
        until = self._looks + 2
        await eventually(lambda: self._looks >= until, "it was looked up")


@pytest.fixture
async def publish(monkeypatch: pytest.MonkeyPatch) -> Name:
    """Says which replicas the name stands for, in the place of the machine's resolver."""
    name, real = Name(), socket.getaddrinfo

    def getaddrinfo(host: str, *how: object, **more: object) -> object:
        return name.look() if host == "replicas" else real(host, *how, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(dial, "RESOLVE_SECONDS", 0.02)
    return name


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Running, Running, SimulatedAgent, SimulatedAgent]]:
    """Each with an agent of its own, so that where a call ran says which replica it went through."""
    store = MemoryStore()
    async with (
        replica(store, listen=f"{FIRST}:{PORT}") as first,
        replica(store, listen=f"{SECOND}:{PORT}") as second,
        simulated_agent(first.address, name="a", slots=8) as a,
        simulated_agent(second.address, name="b", slots=8) as b,
    ):
        yield first, second, a, b


async def test_an_address_that_appears_is_linked_and_gets_its_share(publish: Name) -> None:
    async with two() as (first, second, a, b):
        publish(first)
        async with Client(NAME) as client:
            pool = client.pool(POOL)
            await pool.call("echo", {}, timeout=10)
            assert not clients(second)
            publish(first, second)
            await may_use(client, 2)
            for _ in range(10):
                await pool.call("echo", {}, timeout=10)
    assert (len(a.calls), len(b.calls)) == (6, 5)


async def test_an_address_that_has_gone_keeps_its_link_while_it_works_and_is_given_up_when_it_breaks(publish: Name) -> None:
    async with two() as (first, second, _a, _b):
        publish(first, second)
        async with Client(NAME) as client:
            await linked(first, second)
            publish(second)
            await publish.seen()
            assert clients(first)
            assert clients(second)
            assert await client.pool(POOL).call("echo", {"value": 1}, timeout=10) == {"value": 1}
            await first.abort()
            async with replica(listen=first.address) as successor:
                (link,) = clients(second)
                link.close("the test cuts it")  # This one is dialled again, and meanwhile the first would be.
                await eventually(lambda: clients(second) not in ([], [link]), "the second is linked anew")
                assert await client.pool(POOL).call("echo", {"value": 2}, timeout=10) == {"value": 2}
                assert not clients(successor)


async def test_a_name_that_cant_be_looked_up_just_now_costs_no_link(publish: Name) -> None:
    async with two() as (first, second, _a, _b):
        publish(first, second)
        async with Client(NAME):
            await linked(first, second)
            publish()
            await publish.seen()
            cut = [link for each in (first, second) for link in clients(each)]
            for link in cut:
                link.close("the test cuts it")
            await eventually(lambda: not {*cut} & {*clients(first), *clients(second)}, "all links are broken")
            await linked(first, second)  # and they are dialled again all the same


async def test_calls_take_turns_between_the_replicas() -> None:
    async with two() as (first, second, a, b), Client(f"{first.address},{second.address}") as client:
        pool = client.pool(POOL)
        await take_turns(pool, a, b)
        await asyncio.gather(*[pool.call("echo", {}, timeout=10) for _ in range(40)])
    assert Counter(call.worker for agent in (a, b) for call in agent.calls) == {"a/0": 20, "b/0": 20}


async def test_a_replica_that_says_that_it_will_stop_gets_no_call_any_more_and_finishes_those_it_has() -> None:
    async with two() as (first, second, a, b), Client(f"{first.address},{second.address}") as client:
        pool = client.pool(POOL)
        await take_turns(pool, a, b)
        running = [asyncio.create_task(pool.call("hang", timeout=20)) for _ in range(4)]
        await eventually(lambda: len(a.running) == len(b.running) == 2, "they run")
        stopping = asyncio.create_task(first.stop(linger=0, drain=20))
        await may_use(client, 1)
        assert [await pool.call("echo", {"value": n}, timeout=10) for n in range(20)] == [{"value": n} for n in range(20)]
        assert (len(a.calls), len(b.calls)) == (2, 22)
        a.let_go(), b.let_go()
        assert await asyncio.gather(*running) == ["late"] * 4
        await stopping


async def test_a_refusal_of_before_says_nothing_of_a_server_that_has_been_started_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "BACKOFF_SECONDS", Backoff(3.0, 3.0))
    async with Client(f"{FIRST}:{PORT}") as client:
        with pytest.raises(ServerUnavailable, match="connection refused"):
            await client.pool(POOL).workers()
        async with replica(listen=f"{FIRST}:{PORT}"):
            with pytest.raises(PoolNotFound):
                await client.pool(POOL).workers()
