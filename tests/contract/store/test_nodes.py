"""The chart's three servers with Sentinels: who is the primary after a death, a stop and a start of all, and which writes it has."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from snakepit.errors import StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store.interface import Store
from support.redis_nodes import Nodes, redis_nodes

POOL = "default/nodes"
TRIES_TO_HAND_OVER = 10


class Writer:
    """One session's writes, one after another: the versions that were answered, and the longest time without an answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.versions: list[int] = []
        self.refused: list[str] = []
        self.longest = 0.0

    async def run(self) -> None:
        last = time.monotonic()
        while True:
            try:
                payload = common_pb2.Payload(data=b"1")
                self.versions.append((await self._store.set_state(POOL, "s", "k", payload, None, SessionSpec(), None)).version)
            except StoreUnavailable as error:
                self.refused.append(str(error))
            else:
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
            await asyncio.sleep(0.002)

    async def more(self, count: int = 20) -> None:
        wanted = len(self.versions) + count
        async with asyncio.timeout(60):
            while len(self.versions) < wanted:
                await asyncio.sleep(0.01)

    def lost(self) -> int:
        """Answered writes that a later one didn't find: versions of a key only grow."""
        return sum(max(0, before + 1 - after) for before, after in zip(self.versions, self.versions[1:], strict=False))


@asynccontextmanager
async def writing(nodes: Nodes) -> AsyncIterator[Writer]:
    store = make_store(nodes.url)
    await store.start()
    await store.create_session(SessionRecord(POOL, "s", "uid", 0.0, 0.0, 600.0, 1), 10)
    writer = Writer(store)
    task = asyncio.create_task(writer.run())
    try:
        await writer.more()
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_writes_go_on_with_another_when_the_primarys_node_dies_and_what_comes_back_empty_follows(kind: str) -> None:
    with redis_nodes(kind) as nodes:
        async with writing(nodes) as writer:
            dead = await asyncio.to_thread(nodes.primary)
            dead.kill()
            dead.lose_data()
            await writer.more()
            print(f"{kind}: no write for {writer.longest:.1f} s, {writer.lost()} answered writes lost, {len(writer.refused)} refused")
            assert writer.lost() <= 5, "what the replica had not got yet"
            dead.start()
            await asyncio.to_thread(nodes.settle)
            assert not dead.leads()
            await writer.more()
        assert "1" in dead.cli("exists", f"snakepit:{{{POOL}}}:session:s")


async def test_a_primary_that_dies_soon_after_all_have_started_is_replaced_as_soon_as_later() -> None:
    """Only until its replicas are in step is it waited for."""
    with redis_nodes(all_start_seconds=300) as nodes:
        await asyncio.to_thread(nodes.watchful)
        async with writing(nodes) as writer:
            dead = await asyncio.to_thread(nodes.primary)
            dead.kill()
            await writer.more()


async def test_a_primary_that_is_stopped_hands_over_first_and_no_answered_write_is_lost() -> None:
    with redis_nodes() as nodes:
        async with writing(nodes) as writer:
            for _ in range(2):
                stopped = await asyncio.to_thread(nodes.primary)
                await asyncio.to_thread(stopped.stop)
                await writer.more()
                stopped.start()
                await asyncio.to_thread(nodes.settle)
                assert not stopped.leads()
            print(f"no write for {writer.longest:.1f} s, {len(writer.refused)} refused")
            assert writer.lost() == 0


async def test_a_primary_that_starts_again_without_its_data_is_not_the_primary_and_empties_nobody() -> None:
    with redis_nodes() as nodes:
        async with writing(nodes) as writer:
            empty = await asyncio.to_thread(nodes.primary)
            empty.kill("server")
            empty.start("server")
            await writer.more()
            await asyncio.to_thread(nodes.settle)
            assert not empty.leads()
            assert writer.lost() <= 5


async def test_with_volumes_all_may_stop_and_start_also_at_new_addresses_and_no_write_is_lost() -> None:
    with redis_nodes(keeps=True) as nodes:
        async with writing(nodes) as writer:
            behind = await asyncio.to_thread(nodes.primary)
            await asyncio.to_thread(behind.stop)
            await writer.more()
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(node.stop) for node in nodes.all if node is not behind))
        assert time.monotonic() - began < TRIES_TO_HAND_OVER, "it would try as often, once a second, and nobody is left to take over"
        nodes.move(21)
        nodes.all_start_seconds = 60
        for node in nodes.all:
            node.start()
        await asyncio.to_thread(nodes.settle)
        assert await asyncio.to_thread(nodes.primary) is not behind, "it wrote down that it leads, and doesn't know better"
        async with writing(nodes) as again:
            first, last = again.versions[0], writer.versions[-1]
            # A write that was told "away" may have been done, too.
            assert last < first <= last + 1 + len(writer.refused)


async def test_a_primary_that_sees_no_replica_takes_no_writes() -> None:
    """So that two never do."""
    with redis_nodes() as nodes:
        async with writing(nodes) as writer:
            primary = await asyncio.to_thread(nodes.primary)
            for node in nodes.all:
                if node is not primary:
                    node.kill()
            async with asyncio.timeout(30):
                while not any("NOREPLICAS" in refused for refused in writer.refused):
                    await asyncio.sleep(0.05)
            assert primary.leads()
