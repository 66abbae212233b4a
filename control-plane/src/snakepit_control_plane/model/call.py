"""One call while this replica holds it: what was asked (`Request`), and where it is (`Call`). Pure.

A call has two ends. Its caller is answered once (`answered`). Its worker's end is a state: the slot is free when the agent says so, which
may be later, as a caller that has gone does not stop a tool. The call has ended when it is answered and no agent has it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from snakepit._ipc.sections import Bytes
from snakepit._telemetry.span import Span
from snakepit._wire.bulk import Piece
from snakepit._wire.status import to_frame
from snakepit.errors import DeadlineExceeded, SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.caller import NOBODY, Caller
from snakepit_control_plane.model.queue import Place, place_of
from snakepit_control_plane.model.states import BEGINNING, JOINED, LEFT, NEW, SENT, Event, ImpossibleMove, Path, State

if TYPE_CHECKING:
    from snakepit_control_plane.model.capsule import Worker
    from snakepit_control_plane.model.nesting import Nest
    from snakepit_control_plane.model.pool import Pool
    from snakepit_control_plane.model.session import SessionEntry

_RANKS = {common_pb2.PRIORITY_HIGH: 0, common_pb2.PRIORITY_LOW: 2}

Reply = Callable[["Call", link_pb2.Frame], None]
"""Gets the call's Result, once; before it, where the call asks for it, its Progress."""


class Source(Protocol):
    """Where a call's large arguments are until its agent asks for them. `gone`: they can't be had any more."""

    gone: bool
    held: int
    """Bytes of them that are in this process's memory for as long as the call waits."""

    def attempt(self) -> AsyncIterator[Sequence[Bytes] | Piece]:
        """The arguments' pieces, from the first one, as bytes or where they are still to be read; an earlier attempt gets no more."""

    def put_down(self) -> None:
        """The Piece that was given last could not be read to its end."""


class Sink(Protocol):
    """Where a streaming call's chunks go."""

    opened: bool

    def heard_all(self) -> None:
        """The call's Result has come, and nothing that its tool says of its progress comes after that."""

    def fail(self, error: common_pb2.Error) -> None:
        """End the stream with an error; nothing if it has ended."""


class Stage:
    """What a call has passed on its way down, and what is to be done there on its way up: the latest first. It does nothing."""

    __slots__ = ()

    def freed(self, call: Call, now: float) -> None:
        """The call has left its worker for good, or will get none."""

    def ended(self, call: Call, now: float) -> None:
        """The call is answered, and on no worker."""


class Placer(Protocol):
    """Who says where a call goes, if it isn't the dispatcher: its session's stage."""

    def offered(self, call: Call, worker: Worker, now: float) -> None:
        """The call's turn has come in the queue, and that worker has room."""

    def returned(self, call: Call, reason: str, now: float) -> None:
        """The call came back from its worker. `reason` is the agent's word; empty: it is to run again."""


class Request(msgspec.Struct, frozen=True):
    """What was asked, as it was asked. `pool` as the caller wrote it; `timeout` in seconds, 0 is none; `came_at` of the loop's clock.

    `caller`: with whom it takes turns, and who counts in `call.maxConcurrentPerCaller`. `takes_pieces`: it fetches a large result.
    `who`: whose sessions it may use, or anybody's (`any_session`).
    `leads`: the call runs for those that share its idempotency key: they are counted, it is not.
    """

    id: int
    call_id: str
    pool: str
    tool: str
    session_id: str
    key: str
    affinity: int
    rank: int
    is_stream: bool
    timeout: float
    came_at: float
    caller: Hashable
    takes_pieces: bool
    who: Caller = NOBODY
    any_session: bool = False
    leads: bool = False


def request_of(message: link_pb2.Call, now: float, who: Caller = NOBODY, takes_pieces: bool = False, any_session: bool = False) -> Request:
    """What a Call frame asks. Each field is taken off the frame once: each time would make it anew."""
    return Request(
        message.id,
        message.call_id,
        message.pool,
        message.tool,
        message.session_id,
        message.idempotency_key,
        message.affinity,
        _RANKS.get(message.priority, 1),
        message.stream,
        message.timeout_seconds,
        now,
        who.name,
        takes_pieces,
        who,
        any_session,
    )


class Leg(msgspec.Struct, frozen=True):
    """One way of a call to a worker and, but for the last one, back. `events` of the table, in their order. Times of the loop's clock."""

    events: tuple[Event, ...]
    queued_at: float
    """When it began to wait; says something only where `events` have `wait`. So `sent_at`, and `send`."""
    sent_at: float
    ahead: bool
    worker: str
    ended: float
    why: str

    @property
    def was_sent(self) -> bool:
        return "send" in self.events

    @property
    def queue_seconds(self) -> float:
        return (self.sent_at if self.was_sent else self.ended) - self.queued_at if "wait" in self.events else 0.0


RECALLED, RERUN, FORGOTTEN, MOVED = "RECALLED", "RERUN", "FORGOTTEN", "SESSION_MOVED"
"""Why it came back, beside what agents say in a Reject: its worker has ended and it runs again; its agent knows nothing of it; before it
was sent, its session went to another worker."""

MOST_LEGS = 16
"""Ways that are remembered of a call that comes back again and again: the first ones, and the last."""


class Attempts(msgspec.Struct):
    """How a call came back before. `reruns`: it was sent again though it may have run; `workers_gone`: workers that had not begun
    it have ended; `fetches`: its large arguments did not get to an agent; `sent`: in all."""

    reruns: int = 0
    workers_gone: int = 0
    fetches: int = 0
    sent: int = 0
    legs: list[Leg] = []

    def came_back(self, leg: Leg) -> None:
        self.sent += leg.was_sent
        self.legs = [*self.legs[: MOST_LEGS - 1], leg]


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """`frame` is the Call frame itself, which is passed on, not copied, and `message` the Call in it. `pool`: the one that took it, which
    may be deleted while it runs. Times are of the loop's clock, infinity is none.

    `place` is the queue's, `worker`, `expected`, `ahead` and `sent_at` are the dispatcher's, `session` and `placer` the session's.
    """

    request: Request
    tool: str
    """The request's: every decision asks for it."""
    frame: link_pb2.Frame
    message: link_pb2.Call
    reply: Reply
    arrival: int = 0
    sink: Sink | None = None
    source: Source | None = None
    """Where large arguments are: not in the frame."""
    shares_memory: bool = False
    """Its frame came in one message with others, all of which stay in memory for as long as it does."""
    state: State = NEW
    path: Path = BEGINNING
    answered: bool = False
    pool: Pool | None = None
    deadline: float = math.inf
    stages: tuple[Stage, object] | None = None
    """What is done at its end: the latest stage, and those before it."""
    bytes: int = 0
    """Of its frame, as it came, and of arguments that are kept for it."""
    place: Place | None = None
    attempts: Attempts | None = None
    worker: Worker | None = None
    """That it is on; and was, until it goes to another one."""
    expected: float = 0.0
    ran: float = 0.0
    """Of a stream: how long its tool ran, in seconds, as the Result says, which may come before its last chunk is taken."""
    ahead: bool = False
    """As its frame says: it waits for a slot at its worker."""
    sent_at: float = 0.0
    session: SessionEntry | None = None
    placer: Placer | None = None
    nest: Nest | None = None
    """Its place among calls that tools make; None for one that is in no other and has called none."""
    span: Span | None = None

    def move(self, event: Event) -> None:
        """Something happens to the call. Raises ImpossibleMove."""
        try:
            self.path = path = self.path.after[event]
        except KeyError:
            told = f"it is {self.state}, after {self.told() or 'nothing'}"
            raise ImpossibleMove(f"{event!r} can't happen to call {self.call_id}: {told}") from None
        self.state = path.state

    def leg(self, now: float, why: str) -> Leg:
        """The way that it has gone since it was new, or since it last came back."""
        return Leg(self.path.events, self.queued_at, self.sent_at, self.ahead, self.worker.id if self.worker is not None else "", now, why)

    @property
    def queued_at(self) -> float:
        """When it began to wait, if it has, since it last came back."""
        since = 0.0 if self.place is None else self.place.since
        return since if self.attempts is None or not self.attempts.legs else max(since, self.attempts.legs[-1].ended)

    def come_back(self, now: float, why: str, event: Event = "return") -> None:
        """It is on no worker any more, and goes to another one. Raises ImpossibleMove."""
        leg = self.leg(now, why)
        self.move(event)
        self.tried().came_back(leg)

    def ran_as(self, run: Call, now: float) -> None:
        """That one ran for it, and has ended: where it went and what it waited for a worker is told as this one's own."""
        before = run.attempts or Attempts()
        if run.place is not None:
            place_of(self).waited += run.place.before + run.place.waited
        self.attempts = Attempts(sent=before.sent + 1, legs=[*before.legs, run.leg(now, "")])

    def ran_for(self, result: link_pb2.Result, now: float) -> float:
        """How long its tool ran, in seconds, where the Result doesn't say it: until now, if a worker has had the call all the time since.
        So it is where its worker died, its tool didn't stop, its caller has gone, or a stream's last chunk was quicker than its Result."""
        if self.ran:
            return self.ran
        began = self.state is SENT and not self.ahead and result.error.started != common_pb2.STARTED_NO
        return now - self.sent_at if began else 0.0

    def told(self) -> str:
        """What has happened to the call since it last came back, the first thing first."""
        return ", ".join(self.path.events)

    def passes(self, stage: Stage) -> None:
        """The stage hears of the call's end."""
        self.stages = (stage, self.stages)

    def passed(self) -> Iterator[Stage]:
        """Its stages, the latest first."""
        at: object = self.stages
        while isinstance(at, tuple):
            stage, at = at
            yield stage

    def stand_alone(self) -> None:
        """It is going to wait: what came with it need not."""
        if self.shares_memory:
            self.shares_memory = False
            frame = link_pb2.Frame()
            frame.CopyFrom(self.frame)
            self.frame, self.message = frame, frame.call

    def tried(self) -> Attempts:
        """For who counts what went wrong."""
        if self.attempts is None:
            self.attempts = Attempts()
        return self.attempts

    @property
    def id(self) -> int:
        return self.request.id

    @property
    def call_id(self) -> str:
        return self.request.call_id

    @property
    def pool_name(self) -> str:
        """In full, once a pool has taken the call."""
        return self.request.pool if self.pool is None else self.pool.name

    @property
    def in_turn(self) -> bool:
        """It runs within the turn of a call of its session that waits for it."""
        return self.nest is not None and bool(self.nest.turn)

    @property
    def is_waiting(self) -> bool:
        """Does it count in its pool's queue?"""
        return self.place is not None and self.place.counted

    @property
    def reruns(self) -> int:
        return 0 if self.attempts is None else self.attempts.reruns

    @property
    def may_have_run(self) -> bool:
        """Can nobody here say that its tool has not started?"""
        state = self.state
        return state is SENT or state is LEFT or state is JOINED or self.reruns > 0

    def expired(self, now: float) -> SnakepitError:
        """The deadline's error; whether the tool started is known here only for a call that was never sent."""
        started = Started.MAYBE if self.may_have_run else Started.NO
        return DeadlineExceeded(f"the deadline passed after {now - self.request.came_at:.3g} s", started=started)


def outcome_of(result: link_pb2.Result) -> str:
    """For metrics and spans: OK, or the reason that the table of errors has."""
    kind = result.WhichOneof("outcome")
    return result.error.reason if kind == "error" else "TOOL_ERROR" if kind == "tool_error" else "OK"


def result_frame(call: Call, error: SnakepitError) -> link_pb2.Frame:
    """The answer to a call that failed before, or without, a tool's result."""
    result = link_pb2.Result(id=call.id, call_id=call.call_id, error=to_frame(error))
    if call.worker is not None:
        result.worker, result.incarnation = call.worker.id, call.worker.incarnation
    return link_pb2.Frame(result=result)
