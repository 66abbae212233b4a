"""Scenes of calls without a session: free slots, large payloads, idempotency keys, pools without workers, and what links travel on."""

from __future__ import annotations

import asyncio
import statistics
import time
import urllib.request
from pathlib import Path
from typing import Any

from stage import Stage, failure, main

import snakepit

BOTH = (0, 1)
WORKERS = 4
MIB = 1024 * 1024


async def no_call_waits(stage: Stage) -> Any:
    """All workers are held through the one replica and wanted through the other; how long each is idle between two calls."""
    await stage.ready(WORKERS)
    idle = []
    for holder, waiter in (BOTH, BOTH[::-1]):
        texts = [f"held by {holder}, {number}" for number in range(WORKERS)]
        held = [stage.waiting(holder, text) for text in texts]
        visits = [await stage.desk.visit(text) for text in texts]
        wanted = f"wanted by {waiter}"
        waits = [stage.waiting(waiter, wanted) for _ in range(WORKERS)]
        await until_queued(stage, waiter, WORKERS)
        for number, visit in enumerate(visits):
            await visit.end()
            freed = time.monotonic()
            successor = await stage.desk.visit(wanted, number)
            assert (successor.pod, successor.pid) == (visit.pod, visit.pid), "the only worker with a free slot"
            idle.append(successor.began - freed)
        for visit in stage.desk.of(wanted):
            visit.let()
        await asyncio.gather(*held, *waits)
    return idle


async def until_queued(stage: Stage, side: int, count: int) -> None:
    while (await stage.sides[side].info()).queue_depth != count:
        await asyncio.sleep(0.02)


async def free_slot_elsewhere(stage: Stage) -> Any:
    """With one worker free, a call through either replica runs at once; with all of them free, as many run as there are workers."""
    await stage.ready(WORKERS)
    texts = [f"holds {number}" for number in range(WORKERS - 1)]
    held = [stage.waiting(number % 2, text) for number, text in enumerate(texts)]
    visits = [await stage.desk.visit(text) for text in texts]
    took = []
    for turn in range(20):
        began = time.monotonic()
        await stage.where(turn % 2)
        took.append(time.monotonic() - began)
    for visit in visits:
        visit.let()
    await asyncio.gather(*held)
    many = [stage.waiting(number % 2, "many") for number in range(3 * WORKERS)]
    await stage.desk.visit("many", WORKERS - 1)
    together = len(stage.desk.of("many"))
    for number in range(3 * WORKERS):
        await (await stage.desk.visit("many", number)).end()
    await asyncio.gather(*many)
    return {"took": took, "together": together, "ran": len(stage.desk.of("many"))}


async def large(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    content = bytes(range(256)) * (64 * MIB // 256)
    found = []
    for side in BOTH:
        began = time.monotonic()
        same = await stage.through(side, "echo", {"value": content}) == content
        seconds = time.monotonic() - began
        refused = await failure(stage.through(side, "echo", {"value": content + b"x"}))
        returned = await failure(stage.through(side, "make", {"size": len(content) + 1}))
        found.append({"same": same, "seconds": seconds, "in": refused, "out": returned})
    return found


async def slow_reader(stage: Stage) -> Any:
    """One stream through each replica whose reader takes one chunk and then nothing, and small calls beside them."""
    await stage.ready(WORKERS)
    alone = await _small_calls(stage, 200)
    size = 64 * 1024
    streams = []
    for side in BOTH:
        arguments = {"desk": stage.desk.address, "text": f"slow {side}", "size": size}
        stream = stage.sides[side].stream("endless", arguments, timeout=60)
        assert len(await anext(stream)) == size
        streams.append(stream)
    visits = [await stage.desk.visit(f"slow {side}") for side in BOTH]
    beside = [await _small_calls(stage, 200) for _ in range(3)]
    made = [len(visit.said) * size for visit in visits]
    beside.append(await _small_calls(stage, 200))
    later = [len(visit.said) * size for visit in visits]
    for stream in streams:
        await stream.aclose()
    for visit in visits:
        await visit.ended.wait()
    await stage.running(0)
    return {"alone": alone, "beside": statistics.median(beside), "made": made, "later": later}


async def _small_calls(stage: Stage, count: int) -> float:
    """The median of their durations, through both replicas, two at a time."""
    took: list[float] = []

    async def some(side: int) -> None:
        for _ in range(count // 2):
            began = time.perf_counter()
            await stage.through(side, "where")
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(some(side) for side in BOTH))
    return statistics.median(took)


async def keyed(stage: Stage) -> Any:
    """Fifty at once through all replicas, and one more through each when it has run."""
    await stage.ready(WORKERS)
    arguments = {"desk": stage.desk.address, "text": "keyed"}
    key = str(stage.given["key"])
    calls = [asyncio.create_task(stage.through(number % 2, "wait", arguments, idempotency_key=key)) for number in range(50)]
    visit = await stage.desk.visit("keyed")
    await stage.running(1)
    visit.let()
    answers = await asyncio.gather(*calls)
    repeats = [await stage.through(side, "wait", arguments, idempotency_key=key) for side in BOTH]
    return {"answers": answers, "repeats": repeats, "runs": len(stage.desk.of("keyed")), "arguments": arguments}


async def repeated(stage: Stage) -> Any:
    """The same call as before, to the letter, through each replica."""
    await stage.ready(WORKERS)
    arguments, key = stage.given["arguments"], str(stage.given["key"])
    return [await stage.through(side, "wait", arguments, idempotency_key=key) for side in BOTH]


async def replica_dies(stage: Stage) -> Any:
    """The replica that runs a call under a key is killed; the call is asked for again through the other one."""
    await stage.ready(WORKERS)
    key = str(stage.given["key"])
    arguments = {"desk": stage.desk.address, "text": "orphan"}
    first = asyncio.create_task(failure(stage.through(0, "wait", arguments, idempotency_key=key, timeout=10)))
    visit = await stage.desk.visit("orphan")
    joined = asyncio.create_task(failure(stage.through(1, "wait", arguments, idempotency_key=key)))
    await stage.ask("kill the replica", address=stage.given["replicas"][0])
    outcomes = {"joined": await joined, "repeated": await failure(stage.through(1, "wait", arguments, idempotency_key=key))}
    visit.let()
    return {**outcomes, "first": await first, "runs": len(stage.desk.of("orphan"))}


async def one_identity(stage: Stage) -> Any:
    """Two clients with tokens of one service account and one of another, each on its own connection, where a caller may have one call."""
    await stage.ready(2)
    server, files = str(stage.given["replicas"][0]), []
    for number, token in enumerate(stage.given["tokens"]):
        files.append(Path(f"/tmp/token-{number}"))
        files[-1].write_text(token)
    async with (
        snakepit.Client(server, token_file=files[0]) as one,
        snakepit.Client(server, token_file=files[1]) as same,
        snakepit.Client(server, token_file=files[2]) as other,
    ):
        arguments = {"desk": stage.desk.address, "text": "the first"}
        first = asyncio.create_task(one.pool(stage.name).call("wait", arguments, timeout=60))
        visit = await stage.desk.visit("the first")
        refused = await failure(same.pool(stage.name).call("where", timeout=20))
        served = await failure(other.pool(stage.name).call("where", timeout=20))
        await visit.end()
        await first
        return {"same": refused, "other": served, "later": await failure(same.pool(stage.name).call("where", timeout=20))}


async def not_ready(stage: Stage) -> Any:
    return [await failure(stage.through(side, "never", timeout=20)) for side in BOTH]


async def waits_for_workers(stage: Stage) -> Any:
    """The pool is at zero; a call through each replica waits in the queue until the test has scaled it up."""
    calls = [asyncio.create_task(stage.where(side)) for side in BOTH]
    await stage.queued(1)
    waited = [not call.done() for call in calls]
    await stage.ask("scale up")
    return {"waited": waited, "places": await asyncio.gather(*calls)}


async def ways(stage: Stage) -> Any:
    """The links that each replica counts, by role and way, while a client is linked to all of them."""
    await stage.pool.workers()
    await asyncio.gather(*(stage.where(side) for side in BOTH))
    return [await asyncio.to_thread(links, address) for address in stage.given["replicas"]]


def links(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address.rpartition(':')[0]}:7801/metrics", timeout=5) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("snakepit_links{")]
    return {line.partition("{")[2].partition("}")[0]: float(line.rpartition(" ")[2]) for line in lines}


if __name__ == "__main__":
    main(
        no_call_waits,
        free_slot_elsewhere,
        large,
        slow_reader,
        keyed,
        repeated,
        replica_dies,
        one_identity,
        not_ready,
        waits_for_workers,
        ways,
    )
