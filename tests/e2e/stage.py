"""What scenes stand on: pools as each replica shows them, a desk that the tools visit, and a way to ask the test outside for harm.

A scene is run in a pod as `python3 SCENES.py NAME JSON`. It prints one line of JSON for each thing that it asks for, `{"ask": …}`, and
reads one when it is done; its last line is what it found, `{"found": …}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import snakepit

LONGEST_SECONDS = 120.0
"""A scene that takes longer fails, with a stack that says where it was."""

LOOK_SECONDS = 0.02


class Visit:
    """One run of a tool, from its first word to its end."""

    def __init__(self, first: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
        self.text, self.pod, self.pid = str(first["text"]), str(first["pod"]), int(first["pid"])
        self.began = time.monotonic()
        self.ended = asyncio.Event()
        self.said: list[Mapping[str, Any]] = []
        self.writer = writer

    def let(self) -> None:
        """It may go on."""
        self.writer.write(b".")

    async def end(self) -> None:
        """Let it go on, and see it off."""
        self.let()
        await self.ended.wait()

    async def says(self, event: str) -> Mapping[str, Any]:
        return await until(lambda: next((each for each in self.said if each["event"] == event), None))


class Desk:
    """Where tools say that they have begun, in the order in which they did."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.address = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        server = await asyncio.start_server(self._visited, "0.0.0.0", 0)
        self.address = f"{os.environ['POD_IP']}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for visit in self.visits:
                visit.writer.close()

    async def visit(self, text: str, number: int = 0) -> Visit:
        """The run of that text, as soon as it has begun; `number` counts those of the same text."""
        return await until(lambda: next(iter(self.of(text)[number:]), None))

    def of(self, text: str) -> list[Visit]:
        return [visit for visit in self.visits if visit.text == text]

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(json.loads(await reader.readline()), writer)
        self.visits.append(visit)
        try:
            while line := await reader.readline():
                visit.said.append(json.loads(line))
        except ConnectionError:
            pass  # its process was killed
        finally:
            visit.ended.set()
            writer.close()


class Stage:
    """`sides`: the pool through each replica alone; `pool`: through all of them."""

    def __init__(self, name: str, pools: list[snakepit.Pool], pool: snakepit.Pool, desk: Desk, given: Mapping[str, Any]) -> None:
        self.name, self.sides, self.pool, self.desk, self.given = name, pools, pool, desk, given

    async def ask(self, what: str, **fields: Any) -> Any:
        """The test outside does that; what it answers."""
        print(json.dumps({"ask": what, **fields}), flush=True)
        return json.loads(await asyncio.to_thread(sys.stdin.readline))

    async def ready(self, count: int, without: str = "") -> None:
        """So many workers are ready, as each replica sees it, and `without`, an incarnation, is none of them."""
        for side in self.sides:
            await until_true(lambda side=side: self._ready(side, count, without))

    async def _ready(self, side: snakepit.Pool, count: int, without: str) -> bool:
        try:
            found = {worker.incarnation for worker in await ready_workers(side)}
        except (snakepit.PoolNotFound, snakepit.PoolNotReady, snakepit.ServerUnavailable):  # of a replica that has just begun
            return False
        return len(found) == count and without not in found

    def waiting(self, side: int, text: str, tool: str = "wait", session: str = "", **options: Any) -> asyncio.Task[Any]:
        """A call that stays at the desk until it may go on."""
        return asyncio.create_task(self.through(side, tool, {"desk": self.desk.address, "text": text}, session, **options))

    async def through(self, side: int, tool: str, arguments: Any = None, session: str = "", affinity: Any = None, **options: Any) -> Any:
        pool = self.sides[side]
        target = pool.session(session, affinity=affinity) if session else pool
        return await target.call(tool, arguments, **{"timeout": 60, **options})

    async def where(self, side: int, session: str = "", affinity: Any = None) -> Place:
        return place(await self.through(side, "where", None, session, affinity))

    async def running(self, count: int) -> None:
        """So many calls run, as each replica sees it."""
        for side in self.sides:
            await until_true(lambda side=side: _runs(side, count))

    async def queued(self, count: int) -> None:
        """So many calls wait at each replica."""
        for side in self.sides:
            await until_true(lambda side=side: _queues(side, count))

    async def occupy(self, chosen: Place) -> Visit:
        """Keep that process busy with a call of no session, and leave all others free, as both replicas know."""
        workers = len(await ready_workers(self.sides[0]))
        texts = [f"occupies {index} of {id(chosen)}" for index in range(workers)]
        calls = {text: self.waiting(0, text) for text in texts}
        visits = [await self.desk.visit(text) for text in texts]
        stays = next(visit for visit in visits if (visit.pod, visit.pid) == chosen)
        for visit in visits:
            if visit is not stays:
                visit.let()
                await calls[visit.text]
        self._kept = calls[stays.text]
        await self.running(1)
        return stays


Place = tuple[str, int]
"""Pod and process."""


def place(answer: Mapping[str, Any]) -> Place:
    return answer["pod"], answer["pid"]


async def ready_workers(pool: snakepit.Pool) -> list[Any]:
    return [worker for worker in await pool.workers() if worker.state == "ready" and worker.liveness == "live"]


async def _runs(pool: snakepit.Pool, count: int) -> bool:
    return sum(worker.running for worker in await pool.workers()) == count


async def _queues(pool: snakepit.Pool, count: int) -> bool:
    return (await pool.info()).queue_depth == count


async def until_true(look: Callable[[], Awaitable[bool]]) -> None:
    while not await look():
        await asyncio.sleep(LOOK_SECONDS)


async def until(look: Callable[[], Any]) -> Any:
    while not (found := look()):
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def failure(call: Awaitable[Any]) -> dict[str, Any]:
    """How a call failed, and how long that took; `reason` is empty if it didn't."""
    began = time.monotonic()
    try:
        answer = await call
    except snakepit.SnakepitError as error:
        told = {"reason": error.reason, "started": error.started.name, "message": str(error), "details": dict(error.details)}
    else:
        told = {"reason": "", "answer": answer}
    return {**told, "seconds": time.monotonic() - began}


Scene = Callable[[Stage], Awaitable[Any]]


async def _play(scene: Scene, given: Mapping[str, Any]) -> Any:
    async with AsyncExitStack() as stack, asyncio.timeout(LONGEST_SECONDS):
        desk = await stack.enter_async_context(Desk().open())
        targets = [*given["replicas"], given["all"]]
        clients = [await stack.enter_async_context(snakepit.Client(target)) for target in targets]
        *sides, pool = [client.pool(given["pool"]) for client in clients]
        return await scene(Stage(given["pool"], sides, pool, desk, given))


def main(*scenes: Scene) -> None:
    """Play the one that the command line names."""
    by_name = {scene.__name__: scene for scene in scenes}
    found = asyncio.run(_play(by_name[sys.argv[1]], json.loads(sys.argv[2])))
    print(json.dumps({"found": found}), flush=True)
