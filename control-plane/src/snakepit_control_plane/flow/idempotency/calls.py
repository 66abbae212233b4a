"""Callers with an idempotency key: the first one's call is run, the others wait for its outcome with it.

The key is claimed in the store before the call is sent, and the outcome is stored before it is answered. The call that runs is a call
of its own, so that whoever asked first may leave without the others losing it. Nothing here routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from functools import partial

import msgspec

from snakepit._names import new_id
from snakepit._tasks import Tasks
from snakepit._wire.status import to_frame
from snakepit.errors import SnakepitError, Started, StoreUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.idempotency.upkeep import Entry, Upkeep
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.sessions import Sessions
from snakepit_control_plane.flow.transfers import Transfers
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.kept import Kept
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.keys import check_key, digest, given_up, kept, never_started, other_call, own_key
from snakepit_control_plane.store.claims import ClaimState, Run
from snakepit_control_plane.store.interface import Store
from snakepit_control_plane.telemetry import Telemetry

READ_AGAIN_SECONDS = (0.02, 0.05, 0.1, 0.25)
"""Who waits for a run of another replica looks after these times, and then at the last of them."""

ALONE_SECONDS = 10.0
"""A caller whose connection broke is likely to ask again: a tool that nobody waits for runs on for so long, and is cancelled then."""

ANSWER_GRACE_SECONDS = 0.4
"""The run's own end, at its deadline, says more than that a caller's time is up."""

STOP_SECONDS = 3.0

_HOW = {ClaimState.OTHER: "refused", ClaimState.RUNNING: "joined", ClaimState.DONE: "replayed"}

log = logging.getLogger(__name__)


class Idempotency:
    """The stage above the sessions'. `replica` is this process's random name."""

    def __init__(
        self, sessions: Sessions, calls: OpenCalls, transfers: Transfers, store: Store, replica: str, telemetry: Telemetry, limits: Limits
    ) -> None:
        self._next = sessions
        self._calls = calls
        self._transfers = transfers
        self._store = store
        self._replica = replica
        self._telemetry = telemetry
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.upkeep = Upkeep(store.claims, replica, self._loop.time)
        self._entries = self.upkeep.entries
        self._kept = Kept(limits.max_kept_bytes_per_caller)
        self._tasks = Tasks()

    # ---- a caller comes, and goes

    def take(self, pool: Pool, call: Call, now: float) -> None:
        """A call without a key goes on. One with a key is run, joins another, or is given the outcome."""
        key = call.request.key
        if not key:
            self._next.take(pool, call, now)
            return
        error = check_key(call.message)
        if error is not None:
            self._calls.fail(call, error)
            return
        key, asked = own_key(key, call.request.who.subject), digest(call.message)
        entry = self._entries.get((pool.name, key))
        if entry is None:
            self._begin(pool, call, Run(pool.name, key, asked, self._replica, new_id()))
        elif entry.claim.digest != asked:
            self._count(pool, "refused")
            self._calls.fail(call, other_call(key))
        elif entry.is_over:
            self._count(pool, "replayed")
            self._calls.answer(call, link_pb2.Frame(result=link_pb2.Result.FromString(entry.outcome)))
        elif self._join(entry, call):
            self._count(pool, "joined")

    def _begin(self, pool: Pool, call: Call, claim: Run) -> None:
        problem = self._store.problem or ("it has not taken the outcomes of earlier calls yet" if self.upkeep.overdue else "")
        if problem:
            self._calls.fail(call, StoreUnavailable(f"idempotency_key needs the session store: {problem}"))
            return
        entry = Entry(pool, claim, self._left)
        if self._join(entry, call):
            self._entries[pool.name, claim.key] = entry
            self._tasks.spawn(self._follow(entry))

    def _join(self, entry: Entry, call: Call) -> bool:
        """Let the call wait for the outcome. False: it was refused."""
        if not self._calls.join(entry.pool, call, call.deadline + ANSWER_GRACE_SECONDS):
            return False
        call.passes(entry)
        entry.callers[call] = None
        entry.stop_waiting_alone()
        return True

    def _left(self, entry: Entry, call: Call) -> None:
        """The caller has its answer, or has gone."""
        if call is not entry.first:
            entry.pool.queue.joined -= 1
        if entry.callers or entry.is_over:
            return
        if entry.run is None:
            entry.deserted.set()
        elif not entry.run.may_have_run:
            self._calls.cancel(entry.run)
        else:
            entry.alone = self._loop.call_later(ALONE_SECONDS, self._still_alone, entry)

    def _still_alone(self, entry: Entry) -> None:
        entry.alone = None
        self._tasks.spawn(self._cancel_unless_joined(entry))

    async def _cancel_unless_joined(self, entry: Entry) -> None:
        """Callers of other replicas wait, too: for them the run goes on, to its deadline."""
        try:
            joined = await self._store.claims.joined(entry.claim)
        except StoreUnavailable as error:
            log.debug("a call that nobody waits for here runs on: %s", error)
            return
        if not joined and not entry.callers and entry.run is not None:
            self._calls.cancel(entry.run)

    # ---- whose run is it?

    async def _follow(self, entry: Entry) -> None:
        """Ask the store until there is an outcome, or the run is ours."""
        started = Started.NO
        pauses = itertools.chain(READ_AGAIN_SECONDS, itertools.repeat(READ_AGAIN_SECONDS[-1]))
        try:
            while entry.callers:
                entry.deserted.clear()
                if await self._ask(entry, first=started is Started.NO) is not ClaimState.RUNNING:
                    return
                started = Started.MAYBE
                await self._wait(entry, next(pauses))
            self._forget(entry)
        except StoreUnavailable as error:
            self._refuse(entry, StoreUnavailable(error.message, started=started))

    async def _ask(self, entry: Entry, *, first: bool) -> ClaimState:
        """Look once, and act on it."""
        found = await self.upkeep.claim(entry)
        if first and found.state is not ClaimState.OURS:
            self._count(entry.pool, _HOW[found.state])
        if found.state is ClaimState.DONE:
            self._deliver(entry, link_pb2.Result.FromString(found.outcome))
        elif found.state is ClaimState.OTHER:
            self._refuse(entry, other_call(entry.claim.key))
        elif found.state is ClaimState.OURS and not entry.callers:
            self._forget(entry)
            await self.upkeep.release(entry.claim)
        elif found.state is ClaimState.OURS and (full := self._full(entry)) is not None:
            self._refuse(entry, full)
            await self.upkeep.release(entry.claim)
        elif found.state is ClaimState.OURS:
            self._start(entry)
        return found.state

    @staticmethod
    async def _wait(entry: Entry, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await entry.deserted.wait()

    # ---- the run

    def _start(self, entry: Entry) -> None:
        """Run it on behalf of the caller who has waited longest."""
        self._count(entry.pool, "ran")
        entry.first = first = next(iter(entry.callers))
        # From now on the run counts where it waits.
        entry.pool.queue.joined -= 1
        asked = msgspec.structs.replace(first.request, came_at=self._loop.time(), leads=True)
        run = self._calls.open(asked, first.frame, first.message, partial(self._heard, entry))
        entry.run = run
        run.pool, run.source, run.arrival = entry.pool, first.source, first.arrival
        run.deadline, run.span = first.deadline, first.span
        if first.nest is not None:
            run.nest = first.nest.twin(run)
        self._next.take(entry.pool, run, run.request.came_at)

    def _heard(self, entry: Entry, run: Call, frame: link_pb2.Frame) -> None:
        """The run has ended, or says how far it is."""
        if frame.WhichOneof("kind") == "result":
            self._ran(entry, run, frame.result)
            return
        for call in entry.callers:
            if call.message.progress:
                call.reply(call, _progress(call, frame))

    def _ran(self, entry: Entry, run: Call, result: link_pb2.Result) -> None:
        """One that never started leaves the key to the next who tries."""
        entry.run = None
        if entry.first is not None:
            entry.first.ran_as(run, self._loop.time())
        entry.stop_waiting_alone()
        if not never_started(result):
            entry.outcome = kept(result, self._limits)
            self._note_kept(entry, run)
            self._tasks.spawn(self._store_outcome(entry, run, result))
            return
        if given_up(result) and entry.first in entry.callers:
            self._calls.answer(entry.first, _copy(result))
        if given_up(result) and entry.callers:
            self._tasks.spawn(self._follow(entry))
        else:
            self._deliver(entry, result)
            self._tasks.spawn(self.upkeep.release(entry.claim))

    def _full(self, entry: Entry) -> SnakepitError | None:
        """May the caller who has waited longest have one more result kept? Where nobody is asked who they are, anybody may."""
        subject = next(iter(entry.callers)).request.who.subject
        return self._kept.full(subject, self._loop.time()) if subject else None

    def _note_kept(self, entry: Entry, run: Call) -> None:
        if subject := run.request.who.subject:
            self._kept.add(subject, len(entry.outcome), entry.pool.spec.call.idempotency_ttl_seconds, self._loop.time())

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
            self._transfers.hand_over(run, first)
            self._calls.answer(first, _copy(result))
        else:
            self._transfers.abandon(lambda call: call is run)

    # ---- answers

    def _deliver(self, entry: Entry, result: link_pb2.Result, *, forget: bool = True) -> None:
        """Answer everybody who waits."""
        entry.is_over = True
        if forget:
            self.upkeep.forget(entry)
        for call in list(entry.callers):
            self._calls.answer(call, _copy(result))

    def _refuse(self, entry: Entry, error: SnakepitError) -> None:
        self._deliver(entry, link_pb2.Result(error=to_frame(error)))

    def _forget(self, entry: Entry) -> None:
        entry.is_over = True
        self.upkeep.forget(entry)

    def _count(self, pool: Pool, how: str) -> None:
        self._telemetry.keyed.add(pool.name, how)

    # ---- time

    async def stop(self) -> None:
        """Let what is on its way to the store arrive, within STOP_SECONDS. No calls come any more."""
        for entry in self._entries.values():
            entry.stop_waiting_alone()
        await self._tasks.wait(STOP_SECONDS)
        await self._tasks.stop()


def _progress(call: Call, frame: link_pb2.Frame) -> link_pb2.Frame:
    progress = link_pb2.Progress(id=call.id, fraction=frame.progress.fraction, message=frame.progress.message)
    return link_pb2.Frame(progress=progress)


def _copy(result: link_pb2.Result) -> link_pb2.Frame:
    frame = link_pb2.Frame()
    frame.result.CopyFrom(result)
    return frame
