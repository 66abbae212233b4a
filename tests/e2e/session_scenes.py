"""Scenes of sessions: played in a pod, with a stage on which every replica can be called by itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stage import Stage, failure, main, ready_workers

BOTH = (0, 1)
WORKERS = 4


async def sticks(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    async with stage.sides[0].session("sticks", delete=True) as session:
        places = [await stage.where(turn % 2, "sticks") for turn in range(8)]
        return {"places": places, "epoch": (await session.info()).epoch}


async def hint_moves(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    async with stage.sides[0].session("moves", delete=True) as session:
        bound = await stage.where(0, "moves")
        visit = await stage.occupy(bound)
        moved, followed = await stage.where(0, "moves"), await stage.where(1, "moves")
        info = await session.info()
        await visit.end()
        return {"bound": bound, "moved": moved, "followed": followed, "epoch": info.epoch}


async def strict_queue_waits(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    async with stage.sides[0].session("waits", delete=True) as session:
        bound = await stage.where(0, "waits")
        visit = await stage.occupy(bound)
        pinned = [asyncio.create_task(stage.where(side, "waits", "strict_queue")) for side in BOTH]
        await stage.queued(1)
        others = [await stage.where(side) for side in BOTH]
        early = [call.done() for call in pinned]
        await visit.end()
        places = [await call for call in pinned]
        return {"bound": bound, "others": others, "early": early, "pinned": places, "epoch": (await session.info()).epoch}


async def fail_fast(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    async with stage.sides[0].session("fast", delete=True):
        bound = await stage.where(0, "fast")
        visit = await stage.occupy(bound)
        refused = [await failure(stage.where(side, "fast", "strict_fail_fast")) for side in BOTH]
        await stage.queued(0)
        await visit.end()
        await stage.running(0)
        return {"refused": refused, "bound": bound, "after": [await stage.where(side, "fast", "strict_fail_fast") for side in BOTH]}


async def worker_goes(stage: Stage) -> Any:
    """The test ends the session's worker in its own way."""
    await stage.ready(WORKERS)
    async with stage.sides[0].session("goes", affinity="strict_queue", delete=True) as session:
        await session.call("remember", {"key": "k", "value": "kept"})
        before = await session.info()
        worker = next(each for each in await stage.sides[0].workers() if each.incarnation == before.incarnation)
        await stage.ask("harm", worker=worker.id, pid=worker.pid)
        refused = []
        for side in BOTH:
            await _until_gone(stage, side, before.incarnation)
            refused.append(await failure(stage.where(side, "goes", "strict_queue")))
        epoch = (await stage.sides[1].session("goes").rebind()).epoch
        await stage.ask("heal")
        recalled = [await stage.through(side, "recall", {"key": "k"}, "goes", "strict_queue") for side in BOTH]
        after = await session.info()
        return {
            "refused": refused,
            "epochs": [before.epoch, epoch, after.epoch],
            "recalled": recalled,
            "incarnations": [before.incarnation, after.incarnation],
        }


async def _until_gone(stage: Stage, side: int, incarnation: str) -> None:
    while incarnation in {worker.incarnation for worker in await stage.sides[side].workers() if worker.liveness != "lost"}:
        await asyncio.sleep(0.02)


async def meet(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    met = []
    for number in range(20):
        async with stage.sides[0].session(f"meets-{number}", delete=True) as session:
            places = await asyncio.gather(*(stage.where(side, session.id) for side in BOTH))
            met.append({"places": places, "epoch": (await session.info()).epoch})
    return met


async def same_name(stage: Stage) -> Any:
    """The worker is killed and started again under its name."""
    await stage.ready(WORKERS)
    async with stage.sides[0].session("named", affinity="strict_queue", delete=True) as session:
        await session.call("where")
        before = await session.info()
        worker = next(each for each in await stage.sides[0].workers() if each.incarnation == before.incarnation)
        await stage.ask("harm", worker=worker.id, pid=worker.pid)
        await stage.ready(WORKERS, without=before.incarnation)
        names = [sorted(each.id for each in await ready_workers(side)) for side in stage.sides]
        refused = [await failure(stage.where(side, "named", "strict_queue")) for side in BOTH]
        await stage.sides[1].session("named").rebind()
        await session.call("where")
        after = await session.info()
        return {"worker": before.worker, "names": names, "refused": refused, "incarnations": [before.incarnation, after.incarnation]}


async def fenced(stage: Stage) -> Any:
    await stage.ready(WORKERS)
    async with stage.sides[0].session("fenced", delete=True) as session:
        await session.call("remember", {"key": "k", "value": "early"})
        call = stage.waiting(0, "insists", "insist", "fenced")
        visit = await stage.desk.visit("insists")
        epoch = (await stage.sides[1].session("fenced").rebind()).epoch
        result = await failure(call)
        read = await stage.through(1, "recall", {"key": "k"}, "fenced")
        visit.let()
        write = await visit.says("refused")
        await visit.ended.wait()
        return {"epoch": epoch, "result": result, "write": write, "read": read, "after": await session.state.get_versioned("k")}


async def keep(stage: Stage) -> Any:
    session = stage.pool.session("kept")
    await session.delete()  # of another run on this release
    await session.create()
    await session.call("remember", {"key": "k", "value": "kept"})
    info = await session.info()
    worker = next(each for each in await stage.pool.workers() if each.incarnation == info.incarnation)
    return {"worker": worker.id, "pid": worker.pid}


async def kept(stage: Stage) -> Any:
    """What each replica, and then the tool through each, knows of it."""
    await stage.ready(WORKERS)
    read = [await side.session("kept").state.get_versioned("k") for side in stage.sides]
    recalled = [await stage.through(side, "recall", {"key": "k"}, "kept") for side in BOTH]
    info = await stage.pool.session("kept").info()
    worker = next(each for each in await stage.pool.workers() if each.incarnation == info.incarnation)
    return {"read": read, "recalled": recalled, "worker": worker.id, "pid": worker.pid, "epoch": info.epoch}


async def store_goes(stage: Stage) -> Any:
    """The test takes the store away and brings it back; meanwhile every kind of need is tried at both replicas."""
    await stage.ready(WORKERS)
    workers = sorted(each.incarnation for each in await stage.pool.workers())
    await stage.pool.session("known").delete()  # of another run on this release
    for side in stage.sides:
        for name in ("known", "unbound"):
            await side.session(name).create()
        await side.session("known").call("remember", {"key": "k", "value": "before"})
    bound = await stage.where(0, "known")
    await stage.ask("take the store away")
    began = time.monotonic()
    first = await asyncio.gather(*(failure(side.session("new").create()) for side in stage.sides))
    noticed = time.monotonic() - began
    away = [await _without_store(stage, side) for side in BOTH]
    alive = sorted(each.incarnation for each in await stage.pool.workers())
    await stage.ask("bring it back")
    for side in stage.sides:
        while (await failure(side.session("back").create()))["reason"]:
            await asyncio.sleep(0.1)
    back = [await failure(stage.through(side, "recall", {"key": "k"}, "known")) for side in BOTH]
    for side in stage.sides:
        await side.session("known").create()
    await stage.through(0, "remember", {"key": "k", "value": "after"}, "known")
    after = [await stage.through(side, "recall", {"key": "k"}, "known") for side in BOTH]
    for name in ("known", "unbound", "back", "new"):
        await stage.pool.session(name).delete()
    same = sorted(each.incarnation for each in await stage.pool.workers())
    return {
        "bound": bound,
        "first": first,
        "noticed": noticed,
        "away": away,
        "back": back,
        "after": after,
        "workers": [workers, alive, same],
    }


async def _without_store(stage: Stage, side: int) -> Any:
    pool = stage.sides[side]
    needs = {
        "create": pool.session("new").create(),
        "first call of an unbound session": stage.through(side, "where", None, "unbound"),
        "idempotency key": stage.through(side, "where", idempotency_key="new"),
        "state": pool.session("known").state.set("k", "never"),
        "tool that writes": stage.through(side, "remember", {"key": "k", "value": "never"}, "known"),
    }
    return {
        "hint": await failure(stage.through(side, "where")),
        "known": await failure(stage.where(side, "known")),
        "needs": {name: await failure(need) for name, need in needs.items()},
    }


if __name__ == "__main__":
    main(sticks, hint_moves, strict_queue_waits, fail_fast, worker_goes, meet, same_name, fenced, keep, kept, store_goes)
