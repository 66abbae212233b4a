"""Sessions: as the store has them, and as this replica has one in its cache. Pure: state, and questions that it answers by itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller

IDLE_SECONDS = 60.0
"""A session that nobody used for this long is forgotten by the replica (it stays in the store)."""

REBIND = "rebind"
"""Why a session has moved: somebody has asked for it."""

MOST_MOVES = 5
"""So many are kept with a session."""


@dataclass(frozen=True, slots=True)
class Move:
    """Why an epoch began: `busy`, `rebind`, or how the worker ended that the session was bound to before. `at` in Unix seconds."""

    epoch: int
    at: float
    why: str
    worker: str


@dataclass(frozen=True)
class SessionRecord:
    """A session as the store has it. `worker` is empty while it is bound to none; `epoch` grows by one at every rebind.

    `agent`: the life of the agent that the worker belongs to; its lease says whether it may still run calls of the session.
    `owner`: the subject that made it; empty: nobody was asked who it is, and it is everybody's. `group`: whose it is instead.
    `moves`: the latest times that its epoch grew, MOST_MOVES at most, the last one first.
    """

    pool: str
    id: str
    uid: str
    created: float
    last_used: float
    ttl_seconds: float
    epoch: int
    worker: str = ""
    incarnation: str = ""
    agent: str = ""
    owner: str = ""
    group: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()

    @property
    def fence(self) -> Fence:
        return Fence(self.uid, self.epoch)

    @property
    def binding(self) -> tuple[str, int, str]:
        """What a change of the binding is compared with."""
        return self.uid, self.epoch, self.incarnation

    def is_of(self, who: Caller) -> bool:
        """May they use it without a right on others' sessions?"""
        return self.group in who.groups if self.group else self.owner in ("", who.subject)

    @property
    def expires(self) -> float:
        return self.last_used + self.ttl_seconds


@dataclass(frozen=True)
class Ended:
    """A session that has expired while it was bound: its worker is to be told."""

    pool: str
    id: str
    uid: str
    worker: str
    incarnation: str


@dataclass(frozen=True)
class Fence:
    """Who may write: compared for equality, so a flushed or restored store admits nobody old. `epoch` None: under any."""

    uid: str
    epoch: int | None

    def admits(self, there: Fence) -> bool:
        """There is a session of that uid and epoch: is it meant?"""
        return self.uid == there.uid and self.epoch in (None, there.epoch)


class SessionEntry:
    """`active`: calls whose turn it is; `waiting`: those behind them, in order."""

    __slots__ = (
        "active", "asking", "busy", "dirty", "fresh", "id", "in_use",
        "last_used", "lost", "pool", "record", "released", "returns", "waiting",
    )  # fmt: skip

    def __init__(self, pool: str, session: str) -> None:
        self.pool = pool
        self.id = session
        self.record: SessionRecord | None = None
        # How many times the store had come back when the record was read: what was read before another time may be otherwise.
        self.returns = 0
        # The binding that its agent has let go: no call under it any more.
        self.released: Fence | None = None
        # The binding whose worker's end a call has been told of.
        self.lost: Fence | None = None
        # The agent has just said that a call of another replica is there: the next one waits behind it.
        self.in_use = False
        self.active: set[Call] = set()
        # Somebody is being asked about it; calls wait for the answer.
        self.busy = False
        # It is the agent that is being asked, so what is known still holds: calls made within a running one need not wait.
        self.asking = False
        # The record was read from the store for the call that comes next.
        self.fresh = False
        self.dirty = False
        self.last_used = 0.0
        self.waiting: OrderedDict[Call, None] = OrderedDict()

    @property
    def is_released(self) -> bool:
        return self.record is not None and self.record.fence == self.released

    def is_closed_to(self, call: Call) -> bool:
        """Is it known to be somebody else's?"""
        asked = call.request
        return bool(self.record is not None and asked.who.subject and not asked.any_session and not self.record.is_of(asked.who))

    def used(self, now: float) -> None:
        """By a call of whom it belongs to: nobody else keeps it alive."""
        self.last_used, self.dirty = now, True

    def may_have_expired(self, now: float) -> bool:
        """Nobody here has used it for its whole TTL: whether it still exists, the store knows."""
        return self.record is not None and not self._occupied and now - self.last_used >= self.record.ttl_seconds

    def must_wait(self, call: Call) -> bool:
        """For an answer, before anything can be done with the call."""
        return self.record is None or (self.busy and not (self.asking and call.in_turn))

    def is_idle(self, now: float) -> bool:
        return not self._occupied and now - self.last_used > IDLE_SECONDS

    @property
    def _occupied(self) -> bool:
        return bool(self.active or self.waiting or self.busy)
