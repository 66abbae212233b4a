"""What an author's code can do to its worker: each file of tests/adversarial, through a real agent and keeper.

After each: its caller was told what the file says; the next calls are served, by the same worker too; capacity is back; and nothing is
left of it, no process, no zombie, no descriptor.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from snakepit.v1 import link_pb2, pool_pb2
from support.adversaries import ALL, Adversary
from support.capsules import LocalCapsule, capsule, spec
from support.families import HELPERS, descendants, started_with
from support.replica import Replica, replica

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = 0
WAIT_SECONDS = 20.0
UNBEGUN = ("DEADLINE: the deadline passed", "DEADLINE: the deadline passed before the tool began")
"""A short deadline may be over before a busy machine comes to the call. Then no deed has been done, and it is called again."""
SPARE = 8
"""Descriptors more than at first, for connections that come late, as lanes do. What each of so many adversaries leaves adds up to more."""


class World:
    """A capsule of `size` workers. Its keeper is started again when it ends, as a kubelet would."""

    def __init__(self, control: Replica, local: LocalCapsule, size: int) -> None:
        self.control = control
        self.size = size
        self._local = local
        self._baseline: tuple[int, int] | None = None
        self._warden = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await self._local.start_keeper(ADVERSARY=str(self._local.settings.run_dir))
            assert self._local.keeper is not None
            await self._local.keeper.wait()

    async def close(self) -> None:
        self._warden.cancel()
        await asyncio.gather(self._warden, return_exceptions=True)

    @property
    def keeper(self) -> int:
        assert self._local.keeper is not None
        return self._local.keeper.pid

    # ---- calls

    async def worker(self, index: int) -> pool_pb2.Worker:
        """The worker of an index, when it is ready."""

        def found() -> pool_pb2.Worker | None:
            workers = self.control.workers()
            return workers[index] if len(workers) > index and workers[index].state == pool_pb2.WORKER_STATE_READY else None

        return await self.control.until(found, f"worker {index} is ready")

    async def outcome(self, worker: pool_pb2.Worker, tool: str, arguments: object = None, timeout: float = WAIT_SECONDS) -> str:
        """What a caller is told, or "" if the agent took no call there."""
        id_ = self.control.call(worker, tool, arguments, timeout_seconds=timeout)

        def answer() -> link_pb2.Result | link_pb2.Reject | None:
            return next((each for kind in ("result", "reject") for each in self.control.heard(kind) if each.id == id_), None)

        said = await self.control.until(answer, f"an answer to {tool}", WAIT_SECONDS)
        return "" if isinstance(said, link_pb2.Reject) else in_words(said)

    async def serves(self, index: int) -> None:
        """The worker of that index, or its successor, soon takes calls as if nothing had been."""
        async with asyncio.timeout(WAIT_SECONDS):
            for tool in ("calm", "calm_later"):
                while await self.outcome(await self.worker(index), tool, {"value": 7}) != "value: 7":
                    await asyncio.sleep(0.01)

    async def end(self, adversary: Adversary, worker: pool_pb2.Worker) -> None:
        """Whatever the adversary did to its worker goes with it."""
        if adversary.leaves == "recycled":
            self.control.send(link_pb2.Frame(drain=link_pb2.Drain(worker=worker.id, incarnation=worker.incarnation, recycle=True)))
        elif (pid := (await self.worker(FIRST)).pid) == worker.pid:
            os.kill(pid, 9)
        await self.control.until(lambda: self.control.workers()[FIRST].incarnation != worker.incarnation, "its worker has gone")
        await self.serves(FIRST)

    # ---- what is left

    async def is_clean(self) -> None:
        """The workers, and what a keeper has besides; no zombie; and no descriptor more than before."""
        workers = {(await self.worker(index)).pid for index in range(self.size)}
        seen: object = None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while (seen := self._left(workers)) is not None:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"left over: {seen}")

    def _left(self, workers: set[int]) -> object:
        """None: nothing; otherwise something to read."""
        family = descendants(self.keeper)
        others = {pid: name for pid, name in family.items() if pid not in workers}
        if not workers <= set(family) or len(others) != HELPERS or any("(dead)" in name for name in family.values()):
            return family
        if strangers := [
            pid for pid in started_with(f"ADVERSARY={self._local.settings.run_dir}") if pid not in family and pid != self.keeper
        ]:
            return strangers
        counted = open_files("self"), open_files(self.keeper)
        self._baseline = self._baseline or counted
        leaked = any(now > before + SPARE for now, before in zip(counted, self._baseline, strict=True))
        return (counted, self._baseline) if leaked else None


def open_files(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def in_words(result: link_pb2.Result) -> str:
    if result.HasField("tool_error"):
        return f"ToolError: {result.tool_error.type}: {result.tool_error.message}"
    if result.HasField("error"):
        return f"{result.error.reason}: {result.error.message}"
    return f"value: {json.dumps(json.loads(result.payload.data))}"


@asynccontextmanager
async def world(adapter: str, size: int, **worker: object) -> AsyncIterator[World]:
    settings = spec(adapter, worker=worker, drain={"timeoutSeconds": 1, "killAfterSeconds": 1}, restart={"maxRestarts": 0})
    async with replica() as control, capsule(settings, control, keeper=False) as local:
        made = World(control, local, size)
        try:
            yield made
        finally:
            await made.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def processes() -> AsyncIterator[World]:
    async with world("support.adversaries:Process", 2, processes=2) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def threads() -> AsyncIterator[World]:
    async with world("support.adversaries:Thread", 1, profile="thread", threads=2) as made:
        yield made


@pytest.mark.parametrize("adversary", [each for each in ALL if each.world == "process"], ids=lambda each: each.name)
async def test_a_caller_is_told_and_nobody_else_is_harmed(processes: World, adversary: Adversary) -> None:
    await suffer(processes, adversary)


@pytest.mark.parametrize("adversary", [each for each in ALL if each.world == "thread"], ids=lambda each: each.name)
async def test_the_same_with_threads(threads: World, adversary: Adversary) -> None:
    await suffer(threads, adversary)


async def suffer(world: World, adversary: Adversary) -> None:
    for index in range(world.size):
        await world.serves(index)
    await world.is_clean()
    worker = await world.worker(FIRST)
    told = UNBEGUN[0]
    async with asyncio.timeout(WAIT_SECONDS):
        while told in UNBEGUN:
            told = await world.outcome(worker, adversary.name, adversary.arguments, adversary.timeout)
    assert any(fnmatch.fnmatchcase(told, each) for each in (adversary.outcome, adversary.or_else)), told[:2000]
    for index in reversed(range(world.size)):
        await world.serves(index)
    await world.end(adversary, worker)
    await world.is_clean()


@pytest.mark.parametrize("adversary", [each for each in ALL if each.world == "start"], ids=lambda each: each.name)
async def test_a_worker_that_can_not_start_says_why(adversary: Adversary) -> None:
    async with world(f"adversarial.{adversary.name}:Evil", 1) as made:
        failing = await made.control.state_of(pool_pb2.WORKER_STATE_BACKOFF)
        assert fnmatch.fnmatchcase(failing.message, adversary.outcome), failing.message
