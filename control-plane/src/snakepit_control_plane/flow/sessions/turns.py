"""Whose turn it is: the calls of each session at this replica, in the order in which they came.

A session that this replica knows and whose worker lives costs no store operation on the path of a call. Which worker a call goes to
is decided in `binding`; the order between replicas is the bound agent's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from snakepit._tasks import Tasks
from snakepit.errors import SnakepitError, Started, WorkerBusy
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.dispatcher import Dispatcher
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.flow.sessions.binding import Binding
from snakepit_control_plane.flow.sessions.releases import Releases
from snakepit_control_plane.flow.sessions.upkeep import Upkeep
from snakepit_control_plane.model.call import Call, Stage
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence, SessionEntry, SessionRecord
from snakepit_control_plane.store.interface import Store, UnreadableRecord
from snakepit_control_plane.store.memory import no_session
from snakepit_control_plane.telemetry import Telemetry

log = logging.getLogger(__name__)


class Sessions(Stage):
    """The stage above the dispatcher: all sessions that this replica has to do with.

    `not_theirs` is told of each call that is refused because its session is somebody else's: who, pool, session.
    """

    def __init__(
        self, dispatcher: Dispatcher, calls: OpenCalls, pools: Pools, agents: AgentLinks, store: Store, telemetry: Telemetry
    ) -> None:
        self.store = store
        self.telemetry = telemetry
        self.pools = pools
        self.dispatcher = dispatcher
        self.calls = calls
        self.clock = asyncio.get_running_loop().time
        self.entries: dict[tuple[str, str], SessionEntry] = {}
        self.releases = Releases(agents)
        self.binding = Binding(self)
        self.upkeep = Upkeep(self, agents)
        self.beside = Tasks()
        """Questions to the store, and work that no call waits for."""
        self.not_theirs: Callable[[Caller, str, str], None] = lambda who, pool, session: None

    # ---- a call comes in

    def take(self, pool: Pool, call: Call, now: float) -> None:
        """A call of no session goes on; one of a session when it is its turn."""
        session = call.request.session_id
        if not session:
            self.dispatcher.take(pool, call, now)
            return
        entry = self.entries.get((pool.name, session))
        if entry is None:
            entry = self.entries[pool.name, session] = SessionEntry(pool.name, session)
        elif entry.may_have_expired(now):
            entry.record = None
        call.session, call.placer = entry, self
        call.passes(self)
        if entry.is_closed_to(call):
            self._look_whose(pool, entry, call, now)
            return
        if self._may_begin(pool, entry, call):
            self._begin(pool, entry, call, now)
        elif not call.in_turn and self.binding.must_not_wait(pool, entry, call):
            self.calls.fail(call, WorkerBusy(f"session {session!r} is ordered, and runs a call", retry_after=0.1))
        elif self.calls.wait(pool, call, now, pool.spec.queue.timeout_seconds):
            entry.waiting[call] = None
            if call.in_turn:
                entry.waiting.move_to_end(call, last=False)
            self._know(entry)

    def _look_whose(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """What is known here says that the session is somebody else's. Its refusal is as late as that of one which isn't there, waits for
        nobody's turn, and is the store's to say: another replica may have made the session anew."""
        if self.calls.wait(pool, call, now, pool.spec.queue.timeout_seconds):
            self.beside.spawn(self._look(pool, entry, call), name=f"whose is session {entry.id}?")

    async def _look(self, pool: Pool, entry: SessionEntry, call: Call) -> None:
        try:
            record = await self.store.get_session(entry.pool, entry.id)
        except UnreadableRecord:
            self.refuse(pool, entry, call)  # As far as it could be read, it was somebody else's.
            return
        except SnakepitError as error:
            self.calls.fail(call, error)
            return
        if call.answered:
            return
        self.upkeep.learned(record)
        # It may have been forgotten meanwhile, and known again.
        call.session = entry = self.entries.setdefault((entry.pool, entry.id), entry)
        if entry.is_closed_to(call):
            self.refuse(pool, entry, call)
            return
        entry.waiting[call] = None
        self.advance(pool, entry, self.clock())

    def refuse(self, pool: Pool, entry: SessionEntry, call: Call) -> None:
        """As if the session were not there: it is somebody else's."""
        self.not_theirs(call.request.who, pool.name, entry.id)
        self.calls.fail(call, no_session(pool.name, entry.id))

    def _may_begin(self, pool: Pool, entry: SessionEntry, call: Call) -> bool:
        if entry.must_wait(call):
            return False
        if call.in_turn:
            return True
        return not entry.waiting and not (pool.spec.session.ordered and entry.active)

    def _begin(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        entry.active.add(call)
        self.binding.place(pool, entry, call, now)

    def advance(self, pool: Pool, entry: SessionEntry, now: float) -> None:
        """Let the next calls of the session begin, as many as may."""
        while entry.waiting and not entry.busy and entry.record is not None:
            call = next(iter(entry.waiting))
            if pool.spec.session.ordered and entry.active and not call.in_turn:
                return
            del entry.waiting[call]
            self._begin(pool, entry, call, now)
        if not entry.waiting:
            entry.waiting.clear()  # Its table too: most sessions never have two calls at once.
        self._know(entry)

    # ---- what the dispatcher says

    def freed(self, call: Call, now: float) -> None:
        """The call has left its worker for good, or was given up before it got one: it is the next one's turn."""
        entry, pool = call.session, call.pool
        if entry is None or pool is None:
            return
        if call not in entry.active:
            entry.waiting.pop(call, None)
            return
        entry.active.discard(call)
        self.advance(pool, entry, now)

    def offered(self, call: Call, worker: Worker, now: float) -> None:
        """The queue has found a worker for the call."""
        if call.pool is not None and call.session is not None:
            self.binding.place(call.pool, call.session, call, now, worker)

    def returned(self, call: Call, reason: str, now: float) -> None:
        """The call came back unstarted."""
        entry, pool = call.session, call.pool
        if entry is None or pool is None:
            return
        if reason == "BUSY":
            self.calls.fail(call, WorkerBusy(f"session {entry.id!r} is ordered, and runs a call", retry_after=0.1))
            return
        if reason == "RELEASED":
            self.moved_on(entry, Fence(call.message.session_uid, call.message.session_epoch))
        self.binding.place(pool, entry, call, now)

    def postpone(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """It is the session's next call again: somebody is being asked, or must be."""
        entry.active.discard(call)
        if self.calls.wait(pool, call, now, pool.spec.queue.timeout_seconds):
            entry.waiting[call] = None
            entry.waiting.move_to_end(call, last=False)

    # ---- changes

    def moved_on(self, entry: SessionEntry, fence: Fence) -> None:
        """An agent has let the session go under that epoch: where it is now, the store knows."""
        entry.released = fence
        if not entry.busy:
            entry.record = None

    def moved(self, pool: Pool, entry: SessionEntry, old: SessionRecord, now: float) -> None:
        """The store has said so: its calls need not wait for the former worker."""
        worker = pool.find(old.worker, old.incarnation) if old.worker else None
        for call in pool.queue.pinned_of(worker, entry) if worker is not None else ():
            self.binding.place(pool, entry, call, now)

    def workers_gone(self, pool: Pool, gone: list[Worker], now: float) -> None:
        """Calls pinned to these workers look for another way."""
        for worker in gone:
            self.releases.unanswered(worker.incarnation)
            self._place_again(pool, worker, now)

    def unheard(self, capsule: Capsule) -> None:
        """Its answers won't come, or too late."""
        for worker in capsule.everyone:
            self.releases.unanswered(worker.incarnation)

    def reconsider(self, pool: Pool, capsule: Capsule, now: float) -> None:
        """The capsule's workers may have begun to leave: those that wait for them look for another way."""
        for worker in capsule.everyone:
            if worker in pool.queue.pinned and capsule.linked and not (worker.alive or (worker.retiring and capsule.routable)):
                self._place_again(pool, worker, now)

    def _place_again(self, pool: Pool, worker: Worker, now: float) -> None:
        for call in pool.queue.unpin(worker):
            if call.session is not None:
                self.binding.place(pool, call.session, call, now)

    # ---- questions

    def ask(self, entry: SessionEntry, question: Coroutine[Any, Any, None]) -> None:
        """Calls wait until the question is answered."""
        entry.busy = True
        task = self.beside.spawn(question, name=f"session {entry.id}")
        task.add_done_callback(lambda task: self._answered(entry, task))

    def _answered(self, entry: SessionEntry, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody has foreseen it; whoever waits is told instead of waiting for a deadline.
            of = {"pool": entry.pool, "session": entry.id}
            log.error("a question about session %s of pool %s went wrong", entry.id, entry.pool, exc_info=error, extra=of)
            entry.busy = entry.asking = False
            message = f"what is known of session {entry.id!r} could not be found out: {error!r}"
            self.refuse_all(entry, SnakepitError(message, started=Started.NO))

    def _know(self, entry: SessionEntry) -> None:
        """Calls wait, and nothing is known of their session: ask."""
        if entry.waiting and entry.record is None and not entry.busy:
            self.ask(entry, self._load(entry))

    async def _load(self, entry: SessionEntry) -> None:
        error = await self._fresh(entry)
        entry.busy = False
        pool = self.pools.get(entry.pool)
        if pool is not None and isinstance(error, UnreadableRecord):
            entry.record = error.record
            self._refuse_others(pool, entry)
        if error is not None or pool is None:
            self.refuse_all(entry, error)
        else:
            self._refuse_others(pool, entry)
            self.advance(pool, entry, self.clock())

    async def _fresh(self, entry: SessionEntry) -> SnakepitError | None:
        """Read the session's record; what was wrong, where something was."""
        entry.returns = self.store.returns
        try:
            entry.record = await self.store.get_session(entry.pool, entry.id)
            entry.fresh = True
            self.upkeep.loaded(entry.record)
        except SnakepitError as error:
            return error  # Kept in a variable of this frame, which is in its traceback, it would be garbage.
        return None

    def _refuse_others(self, pool: Pool, entry: SessionEntry) -> None:
        """Whose it is is known now: nobody else waits for a turn."""
        for call in [each for each in entry.waiting if entry.is_closed_to(each)]:
            self.refuse(pool, entry, call)

    def refuse_all(self, entry: SessionEntry, error: SnakepitError | None) -> None:
        """Nothing can be known of the session now: whoever waits for it has failed. None: its pool is gone, and its calls with it."""
        entry.record = None
        if not entry.active:
            self.entries.pop((entry.pool, entry.id), None)
        while entry.waiting:
            call, _ = entry.waiting.popitem(last=False)
            if error is not None:
                self.calls.fail(call, error)

    async def stop(self) -> None:
        await self.beside.stop()
