"""Callers with an idempotency key: the first one's call is run, the others wait for its outcome with it.

The key is claimed in the store before the call is sent, and the outcome is stored before it is answered. The call that runs is a call
of its own, so that whoever asked first may leave without the others losing it. Nothing here routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from snakepit._names import new_id
from snakepit._wire.status import to_frame
from snakepit.errors import SnakepitError, Started, StoreUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.dispatcher import Dispatcher
from snakepit_control_plane.flow.idempotency.entry import Entry
from snakepit_control_plane.flow.idempotency.upkeep import Upkeep
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.keys import check_key, digest, given_up, kept, never_started, other_call
from snakepit_control_plane.policy.refusals import saturated
from snakepit_control_plane.store.claims import Run, State
from snakepit_control_plane.store.interface import Store

READ_AGAIN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Who waits for a run of another replica looks after these times, and then at the last of them, if it hears nothing before."""

ALONE_SECONDS = 10.0
"""A caller whose connection broke is likely to ask again: a tool that nobody waits for runs on for so long, and is cancelled then."""

ANSWER_GRACE_SECONDS = 0.4
"""The run's own end, at its deadline, says more than that a caller's time is up."""

STOP_SECONDS = 3.0

_HOW = {State.OTHER: "refused", State.RUNNING: "joined", State.DONE: "replayed"}

log = logging.getLogger(__name__)


class Idempotency:
    """One for each replica; `replica` is its random name."""

    def __init__(self, router: Dispatcher, store: Store, replica: str) -> None:
        self.upkeep = Upkeep(store.claims, replica, router.clock)
        self._router = router
        self._store = store
        self._replica = replica
        self._entries = self.upkeep.entries
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- a caller comes, and goes

    def submit(self, pool: Pool, call: Call, now: float) -> None:
        """Take a call with a key: run it, let it join, or give it the outcome."""
        key = call.request.idempotency_key
        error = check_key(call.request)
        if error is not None:
            self._router.fail(call, error)
            return
        asked = digest(call.request)
        entry = self._entries.get((pool.name, key))
        if entry is None:
            self._begin(pool, call, Run(pool.name, key, asked, self._replica, new_id()), now)
        elif entry.claim.digest != asked:
            self._count(pool, "refused")
            self._router.fail(call, other_call(key))
        elif entry.ended:
            self._count(pool, "replayed")
            self._router.close(call, link_pb2.Frame(result=link_pb2.Result.FromString(entry.outcome)))
        elif self._join(entry, call, now):
            self._count(pool, "joined")

    def _begin(self, pool: Pool, call: Call, claim: Run, now: float) -> None:
        problem = self._store.problem or ("it has not taken the outcomes of earlier calls yet" if self.upkeep.overdue else "")
        if problem:
            self._router.fail(call, StoreUnavailable(f"idempotency_key needs the session store: {problem}"))
            return
        entry = Entry(pool, claim)
        if self._join(entry, call, now):
            self._entries[pool.name, claim.key] = entry
            self._spawn(self._follow(entry))

    def _join(self, entry: Entry, call: Call, now: float) -> bool:
        """Let the call wait for the outcome. False: the pool's queue is full, and it was refused."""
        if entry.pool.queue.is_full:
            self._router.fail(call, saturated(entry.pool))
            return False
        if not self._router.room.take(call):
            self._router.fail(call, self._router.room.full(call))
            return False
        call.stand_alone()
        entry.pool.queue.joined += 1
        entry.callers[call] = call.reply
        call.reply = partial(self._answered, entry)
        # From now on nobody can say that the tool has not run.
        call.sent_at = now
        self._router.remind(call, call.deadline + ANSWER_GRACE_SECONDS)
        entry.company()
        return True

    def _answered(self, entry: Entry, call: Call, frame: link_pb2.Frame) -> None:
        """The caller has its answer, or has gone."""
        reply = entry.callers.pop(call)
        if call.room:
            self._router.room.give_back(call)
        if call is not entry.first:
            entry.pool.queue.joined -= 1
        reply(call, frame)
        if not entry.callers and not entry.ended:
            self._deserted(entry)

    def _deserted(self, entry: Entry) -> None:
        if entry.run is None:
            entry.news.set()
        elif not entry.run.sent_at:
            self._router.cancel(entry.run)
        else:
            entry.alone = self._router.loop.call_later(ALONE_SECONDS, self._still_alone, entry)

    def _still_alone(self, entry: Entry) -> None:
        entry.alone = None
        self._spawn(self._cancel_unless_joined(entry))

    async def _cancel_unless_joined(self, entry: Entry) -> None:
        """Callers of other replicas wait, too: for them the run goes on, to its deadline."""
        try:
            joined = await self._store.claims.joined(entry.claim)
        except StoreUnavailable as error:
            log.debug("a call that nobody waits for here runs on: %s", error)
            return
        if not joined and not entry.callers and entry.run is not None:
            self._router.cancel(entry.run)

    # ---- whose run is it?

    async def _follow(self, entry: Entry) -> None:
        """Ask the store until there is an outcome, or the run is ours."""
        unwatch: Callable[[], None] | None = None
        pauses = itertools.chain(READ_AGAIN_SECONDS, itertools.repeat(READ_AGAIN_SECONDS[-1]))
        try:
            while entry.callers:
                entry.news.clear()
                if await self._ask(entry, first=unwatch is None) is not State.RUNNING:
                    return
                if unwatch is None:
                    unwatch = self._store.claims.watch(entry.claim, entry.news.set)
                else:
                    await self._wait(entry, next(pauses))
            self._forget(entry)
        except StoreUnavailable as error:
            self._refuse(entry, StoreUnavailable(error.message, started=Started.MAYBE if unwatch else Started.NO))
        finally:
            if unwatch is not None:
                unwatch()

    async def _ask(self, entry: Entry, *, first: bool) -> State:
        """Look once, and act on it."""
        found = await self.upkeep.claim(entry)
        if first and found.state is not State.OURS:
            self._count(entry.pool, _HOW[found.state])
        if found.state is State.DONE:
            self._deliver(entry, link_pb2.Result.FromString(found.outcome))
        elif found.state is State.OTHER:
            self._refuse(entry, other_call(entry.claim.key))
        elif found.state is State.OURS and entry.callers:
            self._start(entry)
        elif found.state is State.OURS:
            self._forget(entry)
            await self.upkeep.release(entry.claim)
        return found.state

    @staticmethod
    async def _wait(entry: Entry, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await entry.news.wait()

    # ---- the run

    def _start(self, entry: Entry) -> None:
        """Run it on behalf of the caller who has waited longest."""
        self._count(entry.pool, "ran")
        entry.first = first = next(iter(entry.callers))
        # From now on the run counts where it waits.
        entry.pool.queue.joined -= 1
        entry.run = run = Call(first.frame, partial(self._heard, entry), self._router.clock(), caller=first.caller)
        run.inner = True
        run.source, run.takes_pieces = first.source, first.takes_pieces
        run.arrival, run.deadline, run.span = first.arrival, first.deadline, first.span
        if first.nest is not None:
            run.nest = first.nest.twin(run)
        self._router.launch(entry.pool, run)

    def _heard(self, entry: Entry, run: Call, frame: link_pb2.Frame) -> None:
        """The run has ended, or says how far it is."""
        if frame.WhichOneof("kind") == "result":
            self._ran(entry, run, frame.result)
            return
        for call, reply in entry.callers.items():
            if call.request.progress:
                reply(call, _progress(call, frame))

    def _ran(self, entry: Entry, run: Call, result: link_pb2.Result) -> None:
        """One that never started leaves the key to the next who tries."""
        entry.run = None
        entry.company()
        if not never_started(result):
            entry.outcome = kept(result, self._router.limits)
            self._spawn(self._store_outcome(entry, run, result))
            return
        if given_up(result) and entry.first in entry.callers:
            self._router.close(entry.first, _copy(result))
        if given_up(result) and entry.callers:
            self._spawn(self._follow(entry))
        else:
            self._deliver(entry, result)
            self._spawn(self.upkeep.release(entry.claim))

    async def _store_outcome(self, entry: Entry, run: Call, result: link_pb2.Result) -> None:
        stored = await self.upkeep.finish(entry)
        if result.HasField("pieces"):
            self._hand_over(entry, run, result)
            result = link_pb2.Result.FromString(entry.outcome)
        self._deliver(entry, result, forget=stored)

    def _hand_over(self, entry: Entry, run: Call, result: link_pb2.Result) -> None:
        """The bytes of a large result are on their way: to the caller on whose behalf it ran, once."""
        first = entry.first
        if first is not None and first in entry.callers:
            first.sink, run.reply = run.sink, entry.callers[first]
            self._router.close(first, _copy(result))
        else:
            self._router.transfers.abandon(lambda call: call is run)

    # ---- answers

    def _deliver(self, entry: Entry, result: link_pb2.Result, *, forget: bool = True) -> None:
        """Answer everybody who waits."""
        entry.ended = True
        if forget:
            self.upkeep.forget(entry)
        for call in list(entry.callers):
            self._router.close(call, _copy(result))

    def _refuse(self, entry: Entry, error: SnakepitError) -> None:
        self._deliver(entry, link_pb2.Result(error=to_frame(error)))

    def _forget(self, entry: Entry) -> None:
        entry.ended = True
        self.upkeep.forget(entry)

    def _count(self, pool: Pool, how: str) -> None:
        self._router.telemetry.keyed.labels(pool.name, how).inc()

    # ---- time

    async def stop(self) -> None:
        """Let what is on its way to the store arrive, within STOP_SECONDS. No calls come any more."""
        for entry in self._entries.values():
            entry.company()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _progress(call: Call, frame: link_pb2.Frame) -> link_pb2.Frame:
    progress = link_pb2.Progress(id=call.id, fraction=frame.progress.fraction, message=frame.progress.message)
    return link_pb2.Frame(progress=progress)


def _copy(result: link_pb2.Result) -> link_pb2.Frame:
    frame = link_pb2.Frame()
    frame.result.CopyFrom(result)
    return frame
