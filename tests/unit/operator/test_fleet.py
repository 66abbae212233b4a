"""The operator's talk with control-plane replicas, over real gRPC to stand-ins for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from snakepit._wire.messages import settings_digest
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2, pool_pb2
from snakepit_operator import replica as replica_module
from snakepit_operator.fleet import Fleet, OnChange
from support.ports import free_port

POOL = "default/digits"
WAIT = 10.0


class Replica(fleet_pb2_grpc.FleetServiceServicer):
    """Answers like a control-plane replica, and keeps what it was told. `unreadable`: pools whose settings it can't take."""

    def __init__(self) -> None:
        self.talks = 0
        self.told: list[fleet_pb2.SyncRequest] = []
        self.held: dict[str, link_pb2.PoolSettings] = {}
        self.unreadable: set[str] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.state = pool_pb2.Pool(name=POOL, available=True, ready_workers=1)
        self.ended: dict[str, int] = {}
        self.port = free_port()  # It may start again there.
        self.server = grpc.aio.server()

    async def start(self) -> None:
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(None)

    async def Sync(self, requests: AsyncIterator[fleet_pb2.SyncRequest], context: object) -> AsyncIterator[fleet_pb2.SyncResponse]:  # noqa: N802
        self.talks += 1
        before: dict[str, fleet_pb2.PoolState] = {}
        async for request in requests:
            self.told.append(request)
            await self.go_on.wait()
            self.held.update({each.pool: each for each in request.pools if each.pool not in self.unreadable})
            if request.complete:
                named = {each.pool for each in request.pools} | set(request.names)
                self.held = {name: each for name, each in self.held.items() if name in named}
            states = {name: self._pool(each) for name, each in self.held.items()}
            brief = request.changes_only and before.keys() <= states.keys()
            told = [each for name, each in states.items() if not brief or each != before.get(name)]
            before = states
            refused = dict.fromkeys(self.unreadable, "its spec can't be read")
            yield fleet_pb2.SyncResponse(
                replica="r", session_store_ready=True, pools=told, version=request.version, refused=refused, partial=brief
            )

    def _pool(self, held: link_pb2.PoolSettings) -> fleet_pb2.PoolState:
        return fleet_pb2.PoolState(pool=self._state(held), settings_digest=settings_digest(held), ended=self.ended)

    def _state(self, held: link_pb2.PoolSettings) -> pool_pb2.Pool:
        state = pool_pb2.Pool()
        state.CopyFrom(self.state)
        state.name, state.generation = held.pool, held.generation
        return state


class Talk:
    def __init__(self, replica: Replica, fleet: Fleet) -> None:
        self.replica, self.fleet = replica, fleet
        self.changes: list[tuple[str, bool]] = []

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def talking(on_change: OnChange) -> AsyncIterator[Talk]:
    replica = Replica()
    await replica.start()
    fleet = Fleet(f"127.0.0.1:{replica.port}", on_change)
    running = asyncio.create_task(fleet.run())
    found = Talk(replica, fleet)
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await found.replica.stop()


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    changes: list[tuple[str, bool]] = []
    async with talking(lambda pool, essential: changes.append((pool, essential))) as found:
        found.changes = changes
        yield found


def settings(pool: str = POOL, generation: int = 1) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=pool, uid="u", generation=generation, spec="{}")


async def test_nothing_is_sent_before_all_pools_are_known(talk: Talk) -> None:
    await talk.until(lambda: talk.replica.talks)
    talk.fleet.put(settings(), [])
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.replica.told)
    first = talk.replica.told[0]
    assert first.complete
    assert {each.pool for each in first.pools} == {POOL, "default/other"}


async def test_only_what_a_replica_does_not_hold_is_sent_and_the_names_of_all_pools(talk: Talk) -> None:
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.replica.held)
    talk.fleet.put(settings(generation=2), ["digits-0"])
    assert await talk.fleet.flushed(WAIT)
    assert talk.replica.held[POOL].generation == 2
    talk.fleet.forget("default/other")
    assert await talk.fleet.flushed(WAIT)
    assert talk.replica.held.keys() == {POOL}
    last = talk.replica.told[-1]
    assert (list(last.pools), list(last.names), last.complete, list(last.drain_capsules)) == ([], [POOL], True, ["digits-0"])


async def test_a_replica_is_asked_for_everything_now_and_then_and_in_between_for_what_has_changed(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.fleet.view(POOL))
    for generation in (2, 3):
        talk.fleet.put(settings(generation=generation), [])
        assert await talk.fleet.flushed(WAIT)
        view, other = talk.fleet.view(POOL), talk.fleet.view("default/other")
        assert view is not None
        assert other is not None
        assert (view.held_generation, view.behind) == (generation, 0)
        assert (other.held_generation, other.available) == (1, True)
    assert [each.changes_only for each in talk.replica.told] == [False, True, True]
    monkeypatch.setattr(replica_module, "REFRESH_SECONDS", 0.0)
    talk.fleet.put(settings(generation=4), [])
    assert await talk.fleet.flushed(WAIT)
    assert not talk.replica.told[3].changes_only


async def test_what_changes_while_a_request_is_on_its_way_goes_out_with_the_next(talk: Talk) -> None:
    """It was taken for sent: suspended pools were served, deleted ones listed, for as long as operator and replica ran."""
    talk.replica.go_on.clear()
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.replica.told)
    talk.fleet.put(settings(generation=2), [])
    talk.fleet.forget("default/other")
    flushed = asyncio.create_task(talk.fleet.flushed(WAIT))
    talk.replica.go_on.set()
    assert await flushed
    assert {name: each.generation for name, each in talk.replica.held.items()} == {POOL: 2}


async def test_what_a_replica_has_lost_or_was_told_by_somebody_else_is_sent_again(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "REFRESH_SECONDS", 0.1)
    talk.fleet.set_pools([settings()])
    assert await talk.fleet.flushed(WAIT) or await talk.fleet.flushed(WAIT)
    talk.replica.held = {"default/ghost": settings("default/ghost")}
    await talk.until(lambda: talk.replica.held == {POOL: settings()})


async def test_the_view_says_how_many_replicas_hold_other_settings_and_why_one_refuses_them(talk: Talk) -> None:
    talk.replica.unreadable = {"default/other"}
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.fleet.view(POOL))
    assert await talk.fleet.flushed(WAIT)
    fine, refused = talk.fleet.view(POOL), talk.fleet.view("default/other")
    assert fine is not None
    assert refused is not None
    assert (fine.behind, fine.held_generation) == (0, 1)
    assert (refused.behind, refused.held_generation, refused.refused) == (1, None, "its spec can't be read")
    talk.fleet.put(settings(generation=2), [])
    behind = talk.fleet.view(POOL)
    assert behind is not None
    assert (behind.behind, behind.held_generation) == (1, 1), "at once, not only when it is sent"


async def test_ends_of_workers_are_by_the_address_of_the_replica_that_counts_them(talk: Talk) -> None:
    talk.replica.ended = {"crashed": 3}
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: (view := talk.fleet.view(POOL)) and view.ended == {f"127.0.0.1:{talk.replica.port}": {"crashed": 3}})


async def test_more_settings_than_one_request_has_room_for_go_in_several_though_some_are_refused(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "REQUEST_BYTES", 60)
    pools = [settings(f"default/pool-{number}") for number in range(9)]
    talk.replica.unreadable = {pools[0].pool, pools[1].pool}
    talk.fleet.set_pools(pools)
    await talk.until(lambda: len(talk.replica.held) == 7 and talk.replica.told[-1].complete)
    assert len(talk.replica.told) > 3
    assert [told.complete for told in talk.replica.told].count(True) == 1, "the last one alone: it names all that there are"


async def test_a_cordon_is_flushed_when_every_replica_has_answered_it(talk: Talk) -> None:
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: talk.fleet.view(POOL))
    talk.fleet.put(settings(), ["digits-0", "digits-1"], ["digits-1"])
    assert await talk.fleet.flushed(WAIT)
    assert list(talk.replica.told[-1].drain_capsules) == ["digits-0", "digits-1"]
    assert list(talk.replica.told[-1].evicted_capsules) == ["digits-1"]
    talk.fleet.put(settings(), [], held=["digits-2"])
    assert await talk.fleet.flushed(WAIT)
    last = talk.replica.told[-1]
    assert (list(last.drain_capsules), list(last.held_capsules)) == ([], ["digits-2"])


async def test_the_view_is_unknown_before_the_first_answer_and_after_the_last_replica(talk: Talk) -> None:
    assert talk.fleet.view(POOL) is None
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: (view := talk.fleet.view(POOL)) and view.available)
    await talk.replica.stop()
    await talk.until(lambda: talk.fleet.view(POOL) is None)
    assert (POOL, True) in talk.changes
    assert not await talk.fleet.flushed(0.1), "it may serve still, and has confirmed nothing"


async def test_without_a_replica_there_is_nobody_to_wait_for() -> None:
    assert await Fleet("127.0.0.1:1", lambda pool, essential: None).flushed(1.0)


async def test_a_replica_that_comes_back_is_told_everything_again(talk: Talk) -> None:
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: talk.fleet.view(POOL))
    port = talk.replica.port
    await talk.replica.stop()
    talk.replica = again = Replica()
    again.port = port
    await again.start()
    await talk.until(lambda: again.told)
    assert again.told[0].complete
    assert [each.pool for each in again.told[0].pools] == [POOL]


async def test_that_a_pool_comes_into_use_is_essential_and_mere_counts_are_not(talk: Talk) -> None:
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: talk.fleet.view(POOL))
    await talk.until(lambda: talk.changes)
    for busy, drained, essential in ((1, "digits-0", True), (7, "digits-1", False), (0, "digits-2", True)):
        talk.changes.clear()
        talk.replica.state.busy_slots = busy
        talk.fleet.put(settings(), [drained])
        await talk.until(lambda: talk.changes)
        assert talk.changes == [(POOL, essential)]


async def test_whatever_goes_wrong_in_a_talk_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    """The replica was told nothing any more, for as long as the operator ran."""
    changes = 0

    def fails_at_first(pool: str, essential: bool) -> None:
        nonlocal changes
        changes += 1
        if changes < 4:
            raise ZeroDivisionError

    async with talking(fails_at_first) as talk:
        talk.fleet.set_pools([settings()])
        await talk.until(lambda: changes > 3 and (view := talk.fleet.view(POOL)) and view.available)
    assert "ZeroDivisionError" in caplog.text


async def test_a_stream_that_has_just_ended_is_one_sentence_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """grpcio raises InvalidStateError for a write to it."""
    talks = 0

    class Ended:
        async def write(self, request: fleet_pb2.SyncRequest) -> None:
            raise asyncio.InvalidStateError("RPC already finished.")

        async def read(self) -> Any:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def connect(address: str, host: str) -> AsyncIterator[Ended]:
        nonlocal talks
        talks += 1
        yield Ended()

    async def look_up(target: str) -> dict[str, str]:
        return {"replica:7800": "replica"}

    fleet = Fleet("", lambda pool, essential: None, connect=connect, look_up=look_up)
    fleet.set_pools([settings()])
    running = asyncio.create_task(fleet.run())
    async with asyncio.timeout(WAIT):
        while talks < 2:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "no sync with replica:7800: RPC already finished." in caplog.text
    assert "Traceback" not in caplog.text
