"""Whose turn it is in each session of this capsule, whichever replica its calls come through; and which sessions the capsule has let go.

A session is known by its random uid and its epoch, compared for equality. Pure and bounded: no clock, no I/O; `now` is monotonic
seconds. It neither admits calls to workers nor answers anybody.
"""

from __future__ import annotations

import enum
import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from snakepit.v1 import link_pb2
from snakepit_agent.model.call import HeldCall

MOST_WAITING = 4096
"""Calls that may wait for their turn in one capsule."""

MOST_RELEASED = 20_000
"""Sessions that the capsule remembers to have let go."""

REMEMBER_SECONDS = 180.0
"""At least: longer than a replica trusts a record that it has not verified."""

Key = tuple[str, int]


class Admission(enum.Enum):
    """What becomes of a call that came in; the value is the reason of its Reject."""

    BEGIN = ""
    WAIT = "it waits"
    BUSY = "BUSY"
    FULL = "NO_SLOT"
    RELEASED = "RELEASED"


@dataclass(slots=True)
class Waiting:
    """A call that waits for its turn: it is nobody's until then."""

    held: HeldCall
    call: link_pb2.Call


@dataclass(slots=True)
class _Session:
    """The calls of one session under one epoch. `askers`: replicas that want it released when it is idle."""

    epoch: int
    running: set[int] = field(default_factory=set)
    waiting: deque[Waiting] = field(default_factory=deque)
    askers: set[str] = field(default_factory=set)


class Turns:
    """All sessions of one capsule that have calls here, and those that it has let go of."""

    def __init__(self) -> None:
        self.sessions: dict[str, _Session] = {}
        """By uid, those that have calls here."""
        self._waiting: dict[int, Waiting] = {}
        self._by_remote: dict[tuple[str, int], int] = {}
        self._due: list[tuple[float, int]] = []
        self._released: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    # ---- a call comes in

    def judge(self, held: HeldCall, turn: int) -> Admission:
        """May it begin now? Nothing is changed by the question."""
        if (held.session_uid, held.session_epoch) in self._released:
            return Admission.RELEASED
        session = self.sessions.get(held.session_uid)
        if session is None or held.session_epoch > session.epoch:
            return Admission.BEGIN
        if held.session_epoch < session.epoch:
            return Admission.RELEASED
        if turn not in (link_pb2.TURN_WAIT, link_pb2.TURN_NOW) or not (session.running or session.waiting):
            return Admission.BEGIN
        if turn == link_pb2.TURN_NOW:
            return Admission.BUSY
        return Admission.WAIT if len(self._waiting) < MOST_WAITING else Admission.FULL

    def superseded(self, held: HeldCall) -> Key | None:
        """The older epoch of the call's session that still has calls here: it has moved on without this capsule's word."""
        session = self.sessions.get(held.session_uid)
        return (held.session_uid, session.epoch) if session is not None and session.epoch < held.session_epoch else None

    def begin(self, held: HeldCall) -> None:
        """The call has been given to a worker."""
        self._of(held).running.add(held.id)

    def wait(self, waiting: Waiting) -> None:
        """Keep the call until its turn comes; `judge` has said WAIT."""
        held = waiting.held
        self._of(held).waiting.append(waiting)
        self._waiting[held.id] = waiting
        self._by_remote[held.replica, held.remote] = held.id
        heapq.heappush(self._due, (held.due, held.id))
        if len(self._due) > 2 * len(self._waiting) + 64:
            self._due = [(each.held.due, id_) for id_, each in self._waiting.items()]
            heapq.heapify(self._due)

    def _of(self, held: HeldCall) -> _Session:
        session = self.sessions.get(held.session_uid)
        if session is None:
            session = self.sessions[held.session_uid] = _Session(held.session_epoch)
        return session

    # ---- a call has ended

    def leave(self, held: HeldCall) -> None:
        """It does not run here any more; a call of an epoch that was fenced has left already."""
        session = self._at((held.session_uid, held.session_epoch))
        if session is not None:
            session.running.discard(held.id)

    def next(self, key: Key) -> Waiting | None:
        """Take out the call whose turn it is, if it is anybody's."""
        session = self._at(key)
        if session is None or session.running or not session.waiting:
            return None
        waiting = session.waiting.popleft()
        self._forget(waiting)
        return waiting

    def idle(self, key: Key, now: float) -> set[str]:
        """Whoever is to hear that the session is idle now, and released. Sessions without calls are forgotten."""
        session = self._at(key)
        if session is None or session.running or session.waiting:
            return set()
        del self.sessions[key[0]]
        return session.askers if session.askers and self._remember(key, now) else set()

    # ---- a call that waits

    def find(self, replica: str, remote: int) -> Waiting | None:
        """The waiting call that a replica knows by `remote`."""
        return self._waiting.get(self._by_remote.get((replica, remote), 0))

    def of_replica(self, replica: str) -> list[Waiting]:
        """Calls of that replica that wait."""
        return [waiting for waiting in self._waiting.values() if waiting.held.replica == replica]

    def drop(self, waiting: Waiting) -> None:
        """The call waits no more: it was recalled, or nobody wants it."""
        self.sessions[waiting.held.session_uid].waiting.remove(waiting)
        self._forget(waiting)

    def overdue(self, now: float) -> Iterator[Waiting]:
        """Calls whose deadline has passed while they waited; `drop` them."""
        while self._due and self._due[0][0] <= now:
            _, id_ = heapq.heappop(self._due)
            if id_ in self._waiting:
                yield self._waiting[id_]

    def _forget(self, waiting: Waiting) -> None:
        held = waiting.held
        del self._waiting[held.id]
        del self._by_remote[held.replica, held.remote]

    # ---- letting go

    def release(self, key: Key, now: float) -> bool:
        """Let the session go if it has no call here: none of that epoch begins here any more."""
        if key in self._released:
            return True
        return self._at(key) is None and self._remember(key, now)

    def has_calls(self, key: Key) -> bool:
        """Does a call of that session, under that epoch, run or wait here?"""
        return self._at(key) is not None

    def has_released(self, key: Key) -> bool:
        """Has the capsule let the session go, and not forgotten it?"""
        return key in self._released

    def ask(self, key: Key, replica: str) -> None:
        """Tell that replica when the session is idle; `release` was False."""
        if (session := self._at(key)) is not None:
            session.askers.add(replica)

    def fence(self, key: Key, now: float) -> tuple[set[int], list[Waiting], set[str]]:
        """Let the session go whatever runs: ids of the calls that run, those that waited, and who asked for it."""
        session = self._at(key)
        self._remember(key, now, always=True)
        if session is None:
            return set(), [], set()
        del self.sessions[key[0]]
        for waiting in session.waiting:
            self._forget(waiting)
        return session.running, list(session.waiting), session.askers

    def end(self, key: Key, now: float) -> list[Waiting]:
        """The session is no more: no call of it begins. What runs may end; those that waited are given back."""
        self._remember(key, now, always=True)
        session = self._at(key)
        waiting = list(session.waiting) if session is not None else []
        for each in waiting:
            self.drop(each)
        return waiting

    def unlinked(self, replica: str) -> None:
        """Nobody waits there for an answer any more."""
        for session in self.sessions.values():
            session.askers.discard(replica)

    def _at(self, key: Key) -> _Session | None:
        session = self.sessions.get(key[0])
        return session if session is not None and session.epoch == key[1] else None

    def _remember(self, key: Key, now: float, *, always: bool = False) -> bool:
        while len(self._released) >= MOST_RELEASED:
            if not always and now - next(iter(self._released.values())) < REMEMBER_SECONDS:
                return False
            self._released.popitem(last=False)
        self._released[key] = now
        return True
