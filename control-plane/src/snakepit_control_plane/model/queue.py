"""Where calls wait: one bounded queue for each pool, with a line for anybody's calls and one for each worker that calls are pinned to.

Pure. In a line, priority comes first, and among calls of one priority their callers take turns, each with its calls in the order in
which they came. Entering and leaving are O(1), and a caller without a waiting call is forgotten.

Nobody takes all places: a caller may have SHARE times as many as are free, so that one alone fills all but a ninth, and the next one finds
some. That is Choudhury's and Hahne's dynamic threshold (Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from snakepit._telemetry.tracing import Span

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call
    from snakepit_control_plane.model.capsule import Worker
    from snakepit_control_plane.model.session import SessionEntry

RANKS = 3
"""High, normal, low."""

SHARE = 8
"""What has so many places, or fewer, may be one caller's: a queue, and a pool's sessions (`quotas.may_own`)."""

_arrival = attrgetter("arrival")


@dataclass(slots=True, eq=False)
class Place:
    """What the queue knows of a call that waits, or has waited. `counted`: it is among those that the queue's size bounds.

    `seconds`: how long it may wait, in all; `waited`: how long it has, before it left last; `since`: when it came in last.
    """

    counted: bool = False
    line: Line | None = None
    since: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    requeued: bool = False
    """It has had its turn already: if it waits again, it goes before those that have not."""
    bytes: int = 0
    """So many of them are counted in the memory budget."""
    span: Span | None = None

    def seconds_waited(self, now: float) -> float:
        return self.waited + now - self.since


def place_of(call: Call) -> Place:
    """Of a call that is going to wait, or came back and goes before those that have not had their turn."""
    if call.place is None:
        call.place = Place()
    return call.place


class Band:
    """Calls of one priority. Those that have had their turn and came back go first, by arrival number; then the callers in turn."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        # The line's count when a call of this band went last.
        self.served = 0
        self.since: OrderedDict[Call, float] = OrderedDict()
        self._again: list[Call] = []
        self._callers: OrderedDict[Hashable, OrderedDict[Call, None]] = OrderedDict()

    def push(self, call: Call, place: Place, now: float) -> None:
        if place.requeued:
            self.since[call] = place.since - place.waited
            insort(self._again, call, key=_arrival)
            return
        self.since[call] = now
        caller = call.request.caller
        calls = self._callers.get(caller)
        if calls is None:
            calls = self._callers[caller] = OrderedDict()
        calls[call] = None

    def head(self) -> Call:
        """The band must not be empty."""
        return self._again[0] if self._again else next(iter(next(iter(self._callers.values()))))

    def remove(self, call: Call, place: Place) -> bool:
        """Take the call out; has its caller others that wait for a turn?"""
        del self.since[call]
        if place.requeued:
            del self._again[bisect_left(self._again, call.arrival, key=_arrival)]
            return False
        caller = call.request.caller
        calls = self._callers[caller]
        del calls[call]
        if not calls:
            del self._callers[caller]
        return bool(calls)

    def turn(self, call: Call, place: Place) -> None:
        """Take the call out to go to a worker: it is the next caller's turn."""
        if self.remove(call, place):
            self._callers.move_to_end(call.request.caller)
        place.requeued = True

    def rank_at(self, now: float, age_seconds: float) -> int:
        """What the band counts as: one rank better for each `age_seconds` that its oldest call has waited."""
        oldest = next(iter(self.since.values()))
        if self._again:
            oldest = min(oldest, self.since[self._again[0]])
        return max(0, self.rank - int((now - oldest) / age_seconds))


class Line:
    """Calls that may go where the line leads. `yields`: the worker's last call came from here, so it is the other line's turn."""

    def __init__(self, age_seconds: float) -> None:
        self.age_seconds = age_seconds
        self.yields = False
        self._bands = tuple(Band(rank) for rank in range(RANKS))
        self._served = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Call]:
        return (call for band in self._bands for call in band.since)

    def push(self, call: Call, place: Place, now: float) -> None:
        place.line = self
        self._waiting += 1
        self._bands[call.request.rank].push(call, place, now)

    def remove(self, call: Call, place: Place) -> None:
        """The call waits no more, without having had its turn."""
        place.line = None
        self._waiting -= 1
        self._bands[call.request.rank].remove(call, place)

    def turn(self, call: Call, place: Place) -> None:
        """The call, which is the head or was passed over, goes to a worker. If it comes back it goes before those that did not go yet."""
        place.line = None
        self._waiting -= 1
        band = self._bands[call.request.rank]
        band.turn(call, place)
        self._served += 1
        band.served = self._served

    def head(self, now: float) -> Call | None:
        band = self._next(now)
        return None if band is None else band.head()

    def rank(self, now: float) -> int:
        """What the head counts as, 0 being the best; RANKS when nobody waits."""
        band = self._next(now)
        return RANKS if band is None else band.rank_at(now, self.age_seconds)

    def _next(self, now: float) -> Band | None:
        """The band whose turn it is: the best one; those that count the same take turns, so a lower band always moves in the end."""
        waiting = [band for band in self._bands if band.since]
        if len(waiting) < 2:
            return waiting[0] if waiting else None
        return min(waiting, key=lambda band: (band.rank_at(now, self.age_seconds), band.served))


class PoolQueue:
    """All that waits in one pool at this replica. `depth` includes calls that wait for their session's turn."""

    def __init__(self, max_size: int, age_seconds: float) -> None:
        self.max_size = max_size
        self.depth = 0
        # The same, by rank.
        self.depths = [0] * RANKS
        self.anybody = Line(age_seconds)
        # Calls that wait for the outcome of another with their idempotency key: they need no slot, but count in the bound.
        self.joined = 0
        self.pinned: dict[Worker, Line] = {}
        self._held: dict[Hashable, int] = {}

    def configure(self, max_size: int, age_seconds: float) -> None:
        self.max_size = max_size
        for line in (self.anybody, *self.pinned.values()):
            line.age_seconds = age_seconds

    @property
    def is_full(self) -> bool:
        return self.depth + self.joined >= self.max_size

    def held(self, caller: Hashable) -> int:
        """How many places it has."""
        return self._held.get(caller, 0)

    def has_place(self, caller: Hashable) -> bool:
        """May one more call of the caller wait?"""
        return self.held(caller) < SHARE * (self.max_size - self.depth - self.joined)

    def enter(self, call: Call, now: float) -> Place:
        """Count the call as waiting (once, however often it changes lines)."""
        place = place_of(call)
        if not place.counted:
            place.counted = True
            place.since = now
            self.depth += 1
            self.depths[call.request.rank] += 1
            self._held[call.request.caller] = self.held(call.request.caller) + 1
        return place

    def leave(self, call: Call, now: float) -> float:
        """The call, which is counted, goes to a worker, or has ended; returns how long it has waited now."""
        place = place_of(call)
        if place.line is not None:
            place.line.remove(call, place)
        place.counted = False
        self.depth -= 1
        self.depths[call.request.rank] -= 1
        if (left := self._held[call.request.caller] - 1) > 0:
            self._held[call.request.caller] = left
        else:
            del self._held[call.request.caller]
        seconds = now - place.since
        place.waited += seconds
        return seconds

    def push(self, call: Call, now: float, pin: Worker | None = None) -> None:
        place = call.place
        if place is None or not place.counted:
            place = self.enter(call, now)
        line = self.anybody if pin is None else self.pinned.get(pin)
        if line is None:
            line = self.pinned[pin] = Line(self.anybody.age_seconds)  # type: ignore[index]  # it is a worker: see the line above
        line.push(call, place, now)

    def turn(self, call: Call, worker: Worker) -> None:
        """The call leaves its line to go to that worker."""
        place = call.place
        if place is None or (line := place.line) is None:
            return
        line.turn(call, place)
        own = self.pinned.get(worker) if self.pinned else None
        if own is not None:
            own.yields = line is own

    def next_for(self, worker: Worker, now: float, *, alone: bool = False) -> Call | None:
        """The head of the worker's own line, if it goes before the head of the common one: the better rank does, equals take turns.

        `alone`: the common line has no use for the worker.
        """
        line = self.pinned.get(worker)
        mine = line.head(now) if line is not None else None
        if line is None or mine is None:
            self.pinned.pop(worker, None)
            return None
        if alone:
            return mine
        rank, other = line.rank(now), self.anybody.rank(now)
        return mine if rank < other or (rank == other and not line.yields) else None

    def unpin(self, worker: Worker) -> list[Call]:
        """Take out all calls that waited for this worker, in order; they still count as waiting."""
        line = self.pinned.pop(worker, ())
        calls = sorted(line, key=_arrival)
        for call in calls:
            _take_out(call)
        return calls

    def pinned_of(self, worker: Worker, session: SessionEntry) -> list[Call]:
        """Take out a session's calls that waited for this worker, in order."""
        line = self.pinned.get(worker, ())
        calls = sorted((call for call in line if call.session is session), key=_arrival)
        for call in calls:
            _take_out(call)
        return calls

    def everybody(self) -> list[Call]:
        """All that stand in a line."""
        lines = [self.anybody, *self.pinned.values()]
        return [call for line in lines for call in line]


def _take_out(call: Call) -> None:
    if call.place is not None and call.place.line is not None:
        call.place.line.remove(call, call.place)
