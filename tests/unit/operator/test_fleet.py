"""The operator's talk with control-plane replicas, over real gRPC to stand-ins for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2, pool_pb2
from snakepit_operator.fleet import Fleet

POOL = "default/digits"
WAIT = 10.0


class Replica(fleet_pb2_grpc.FleetServiceServicer):
    """Answers like a control-plane replica, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[fleet_pb2.SyncRequest] = []
        self.state = pool_pb2.Pool(name=POOL, available=True, ready_workers=1)
        self.port = 0
        self.server = grpc.aio.server()

    async def start(self) -> None:
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(None)

    async def Sync(self, requests: AsyncIterator[fleet_pb2.SyncRequest], context: object) -> AsyncIterator[fleet_pb2.SyncResponse]:  # noqa: N802
        async for request in requests:
            self.told.append(request)
            yield fleet_pb2.SyncResponse(replica="r", session_store_ready=True, pools=[fleet_pb2.PoolState(pool=self.state)])


class Talk:
    def __init__(self, replica: Replica, fleet: Fleet, changes: list[tuple[str, bool]]) -> None:
        self.replica, self.fleet, self.changes = replica, fleet, changes

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    replica = Replica()
    await replica.start()
    changes: list[tuple[str, bool]] = []
    fleet = Fleet(f"127.0.0.1:{replica.port}", lambda pool, essential: changes.append((pool, essential)))
    running = asyncio.create_task(fleet.run())
    found = Talk(replica, fleet, changes)
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await found.replica.stop()


def settings(pool: str = POOL, generation: int = 1) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=pool, uid="u", generation=generation, spec="{}")


async def test_nothing_is_sent_before_all_pools_are_known(talk: Talk) -> None:
    await talk.until(lambda: talk.fleet._replicas)
    talk.fleet.put(settings(), [])
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.replica.told)
    first = talk.replica.told[0]
    assert first.complete
    assert {each.pool for each in first.pools} == {POOL, "default/other"}


async def test_a_change_and_a_deletion_are_sent_alone(talk: Talk) -> None:
    talk.fleet.set_pools([settings(), settings("default/other")])
    await talk.until(lambda: talk.replica.told)
    talk.fleet.put(settings(generation=2), ["digits-0"])
    await talk.until(lambda: any(each.generation == 2 for told in talk.replica.told for each in told.pools))
    talk.fleet.forget("default/other")
    await talk.until(lambda: any(each.deleted for told in talk.replica.told for each in told.pools))
    (gone,) = talk.replica.told[-1].pools
    assert gone.pool == "default/other"
    assert not talk.replica.told[-1].complete
    assert list(talk.replica.told[-1].drain_capsules) == ["digits-0"]


async def test_a_cordon_is_flushed_when_every_replica_has_answered_it(talk: Talk) -> None:
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: talk.fleet.view(POOL))
    talk.fleet.put(settings(), ["digits-0", "digits-1"], ["digits-1"])
    assert await talk.fleet.flushed(WAIT)
    assert list(talk.replica.told[-1].drain_capsules) == ["digits-0", "digits-1"]
    assert list(talk.replica.told[-1].evicted_capsules) == ["digits-1"]


async def test_the_view_is_unknown_before_the_first_answer_and_after_the_last_replica(talk: Talk) -> None:
    assert talk.fleet.view(POOL) is None
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: (view := talk.fleet.view(POOL)) and view.available)
    await talk.replica.stop()
    await talk.until(lambda: talk.fleet.view(POOL) is None)
    assert (POOL, True) in talk.changes
    assert await talk.fleet.flushed(1.0), "without a replica there is nobody to wait for"


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


async def test_mere_counts_are_no_essential_change(talk: Talk) -> None:
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: talk.fleet.view(POOL))
    await talk.until(lambda: talk.changes)
    talk.changes.clear()
    talk.replica.state.busy_slots = 7
    talk.fleet.put(settings(generation=2), [])
    await talk.until(lambda: talk.changes)
    assert talk.changes == [(POOL, False)]


async def test_whatever_goes_wrong_in_a_talk_the_next_one_comes(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The replica was told nothing any more, for as long as the operator ran."""
    heard, answers = talk.fleet._heard, 0

    async def fails_once(*told: Any) -> None:
        nonlocal answers
        answers += 1
        await heard(*told) if answers > 1 else 1 / 0

    monkeypatch.setattr(talk.fleet, "_heard", fails_once)
    talk.fleet.set_pools([settings()])
    await talk.until(lambda: (view := talk.fleet.view(POOL)) and view.available)
    assert "ZeroDivisionError" in caplog.text
