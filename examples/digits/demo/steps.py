"""The steps of the demo: each does one thing through the SDK, as any caller would, prints figures and says whether they are right."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from transcript import Transcript

import snakepit

POOL = "default/digits"
WORKERS = 4
CALLERS = 16
READY_SECONDS = 60
BACK_SECONDS = 30
PAUSE = 0.05


class Place(Protocol):
    """Where the pool runs: this machine, or a cluster."""

    server: str
    gateway: str
    """Its URL; empty: there is none."""

    async def kill_worker(self, worker: snakepit.WorkerInfo) -> None:
        """kill -9 its process."""


async def ready_workers(pool: snakepit.Pool) -> list[snakepit.WorkerInfo]:
    """Workers that are warm and alive; none while control plane or pool aren't there yet, or the one knows nothing of the other."""
    try:
        return [w for w in await pool.workers() if w.state == "ready" and w.liveness == "live"]
    except (snakepit.PoolNotFound, snakepit.PoolNotReady, snakepit.ServerUnavailable):
        return []


async def wait_until_ready(pool: snakepit.Pool, out: Transcript) -> None:
    out.heading("A pool of warm workers")
    began = time.monotonic()
    with out.progress("warm workers", WORKERS) as bar:
        async with asyncio.timeout(READY_SECONDS):
            while len(found := await ready_workers(pool)) < WORKERS:
                bar.update(bar.task_ids[0], completed=len(found))
                await asyncio.sleep(0.02)
    setup = max(w.setup_seconds for w in found)
    seconds = time.monotonic() - began
    out.expect(len(found) == WORKERS, f"{len(found)} workers ready {seconds:.2f} s after the start; the slowest setup() took {setup:.2f} s")
    out.say("tools: " + ", ".join(sorted(tool.name for tool in await pool.tools())))


async def classify_all(pool: snakepit.Pool, out: Transcript) -> list[list[float]]:
    """Every held-out digit, from 16 callers at once; returns the images."""
    out.heading("All held-out digits, through the pool")
    data = await pool.call("held_out", timeout=30)
    todo = list(zip(data["images"], data["labels"], strict=True))
    hits: list[bool] = []
    with out.progress("classified", len(todo)) as bar:

        async def caller() -> None:
            while todo:
                image, label = todo.pop()
                hits.append(await pool.call("classify", {"image": image}, timeout=30) == label)
                bar.advance(bar.task_ids[0])

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        seconds = time.perf_counter() - began
    out.say(f"{len(hits)} digits in {seconds:.2f} s: {len(hits) / seconds:,.0f} calls/s from {CALLERS} callers")
    out.expect(len(hits) == len(data["labels"]), f"every one of the {len(data['labels'])} calls was answered")
    out.expect(sum(hits) / len(hits) > 0.95, f"accuracy {sum(hits) / len(hits):.1%}")
    return list(data["images"])


async def stream(pool: snakepit.Pool, out: Transcript) -> None:
    out.heading("A stream, piece by piece")
    began = time.perf_counter()
    arrived: list[tuple[Any, float]] = []
    async for piece in pool.stream("count", {"to": 6, "pause": PAUSE}, timeout=30):
        arrived.append((piece, time.perf_counter() - began))
        out.say(f"{arrived[-1][1] * 1000:5.0f} ms  {piece}")
    out.expect([piece for piece, _ in arrived] == list(range(6)), "six pieces, in order")
    spread = arrived[-1][1] - arrived[0][1]
    out.expect(spread >= PAUSE * 2, f"the first came {spread * 1000:.0f} ms before the last: nothing was held back")


@dataclass
class Account:
    """Every call of the load, by how it ended."""

    served: int = 0
    lost: list[snakepit.SnakepitError] = field(default_factory=list)

    async def one(self, pool: snakepit.Pool) -> None:
        try:
            await pool.call("count", {"to": 2, "pause": PAUSE}, timeout=30)
            self.served += 1
        except snakepit.SnakepitError as error:
            self.lost.append(error)


async def kill_the_sessions_worker(pool: snakepit.Pool, place: Place, out: Transcript) -> None:
    out.heading("A session, and the death of its worker")
    async with pool.session("demo", delete=True) as session:
        for digit in (3, 3, 7):
            counts = await session.call("tally", {"digit": digit}, timeout=30)
        bound = await session.info()
        out.say(f"the session's state is {counts}, on worker {bound.worker}, epoch {bound.epoch}")
        out.expect(counts == {"3": 2, "7": 1}, "three calls of one session added up")
        victim = next(w for w in await ready_workers(pool) if w.incarnation == bound.incarnation)
        account, back = await _kill_under_load(pool, place, victim, out)
        _judge(account, back, victim, out)
        counts = await session.call("tally", {"digit": 9}, timeout=30)
        after = await session.info()
        out.say(f"the session's state is {counts}, on worker {after.worker}, epoch {after.epoch}")
        out.expect(counts == {"3": 2, "7": 1, "9": 1}, "the state outlived its worker")
        out.expect(after.incarnation != bound.incarnation and after.epoch > bound.epoch, "the session is bound to another worker")


async def _kill_under_load(pool: snakepit.Pool, place: Place, victim: snakepit.WorkerInfo, out: Transcript) -> tuple[Account, float]:
    """Twice as many callers as workers, a kill in their midst; returns the account and the seconds until capacity was back."""
    account, over = Account(), asyncio.Event()

    async def caller() -> None:
        while not over.is_set():
            await account.one(pool)

    async with asyncio.TaskGroup() as callers:
        for _ in range(2 * WORKERS):
            callers.create_task(caller())
        try:
            async with asyncio.timeout(READY_SECONDS):
                while account.served < 2 * WORKERS:
                    await asyncio.sleep(PAUSE)
            began = time.monotonic()
            out.say(f"kill -9 of {victim.id} (process {victim.pid}) while {2 * WORKERS} callers keep all {WORKERS} workers busy")
            await place.kill_worker(victim)
            back = await _until_back(pool, victim, began)
        finally:
            over.set()
    return account, back


async def _until_back(pool: snakepit.Pool, victim: snakepit.WorkerInfo, began: float) -> float:
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            alive = {w.incarnation for w in await ready_workers(pool)}
            if len(alive) >= WORKERS and victim.incarnation not in alive:
                return time.monotonic() - began
            await asyncio.sleep(0.01)


def _judge(account: Account, back: float, victim: snakepit.WorkerInfo, out: Transcript) -> None:
    reasons = Counter(error.reason for error in account.lost)
    out.say(f"{account.served + len(account.lost)} calls: {account.served} served, lost: {dict(reasons) or 'none'}")
    for error in account.lost:
        out.say(f"  its caller was told: {error.reason} (started: {error.started.name.lower()})")
        out.say(f"    {error}")
    out.expect(len(account.lost) <= victim.slots and set(reasons) <= {"WORKER_LOST"}, "nothing but what ran on the killed worker was lost")
    out.expect(back < BACK_SECONDS, f"all {WORKERS} workers were ready again {back * 1000:.0f} ms after the kill")
