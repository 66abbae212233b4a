"""Where calls wait: one bounded queue for each pool, with a line for anybody's calls and one for each worker that calls are pinned to.

Pure. In a line callers take turns, each with its high calls first and its others in the order in which they came: whoever says that its
calls are urgent goes before itself, and before nobody else. Low ones let everybody's others go first. Entering and leaving are O(1), and
a caller without a waiting call is forgotten.

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

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call
    from snakepit_control_plane.model.capsule import Worker
    from snakepit_control_plane.model.session import SessionEntry

RANKS = 3
"""High, normal, low."""
ORDINARY, LOW = 1, 2
"""High and normal calls are in one band, so that they count the same for other callers."""

SHARE = 8
"""What has so many places, or fewer, may be one caller's: a queue, and a pool's sessions (`quotas.may_own`)."""

_arrival = attrgetter("arrival")


@dataclass(slots=True, eq=False)
class Place:
    """What the queue knows of a call that waits, or has waited. `counted`: it is among those that the queue's size bounds.

    `seconds`: how long it may wait, in all; `waited`: how long it has, before it left last; `since`: when it came in last. Each run that
    its worker's end cut off begins with a new patience: `before` is what it had waited for those.
    """

    counted: bool = False
    line: Line | None = None
    since: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    before: float = 0.0
    requeued: bool = False
    """It has had its turn already: if it waits again, it goes before those that have not."""
    bytes: int = 0
    """So many of them are counted in the memory budget."""

    def seconds_waited(self, now: float) -> float:
        return self.waited + now - self.since

    def begin_anew(self) -> None:
        """It runs again, and may wait for that as long as for the first time."""
        self.before += self.waited
        self.waited = 0.0


def place_of(call: Call) -> Place:
    """Of a call that is going to wait, or came back and goes before those that have not had their turn."""
    if call.place is None:
        call.place = Place()
    return call.place


class Own:
    """One caller's calls in a band. High ones go first; once the oldest of the others has waited for long, both take turns."""

    __slots__ = ("high", "others", "yields")

    def __init__(self) -> None:
        self.high: OrderedDict[Call, None] = OrderedDict()
        self.others: OrderedDict[Call, None] = OrderedDict()
        # A high one went last.
        self.yields = False

    def __bool__(self) -> bool:
        return bool(self.high or self.others)

    def of(self, call: Call) -> OrderedDict[Call, None]:
        return self.others if call.request.rank else self.high

    def head(self, long_ago: float, since: OrderedDict[Call, float]) -> Call:
        """`long_ago`: who has waited since then, or longer, takes turns with high ones."""
        if not self.others:
            return next(iter(self.high))
        other = next(iter(self.others))
        if not self.high or (self.yields and since[other] <= long_ago):
            return other
        return next(iter(self.high))


class Band:
    """Calls whose callers take turns. Those that have had their turn and came back go first, by arrival number; then the callers."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        # The line's count when a call of this band went last.
        self.served = 0
        self.since: OrderedDict[Call, float] = OrderedDict()
        self._again: list[Call] = []
        self._callers: OrderedDict[Hashable, Own] = OrderedDict()

    def push(self, call: Call, place: Place, now: float) -> None:
        if place.requeued:
            self.since[call] = place.since - place.waited
            insort(self._again, call, key=_arrival)
            return
        self.since[call] = now
        caller = call.request.caller
        own = self._callers.get(caller)
        if own is None:
            own = self._callers[caller] = Own()
        own.of(call)[call] = None

    def head(self, now: float, age_seconds: float) -> Call:
        """The band must not be empty."""
        return self._again[0] if self._again else next(iter(self._callers.values())).head(now - age_seconds, self.since)

    def remove(self, call: Call, place: Place) -> Own | None:
        """Take the call out; what its caller has left that waits for a turn."""
        del self.since[call]
        if place.requeued:
            del self._again[bisect_left(self._again, call.arrival, key=_arrival)]
            return None
        caller = call.request.caller
        own = self._callers[caller]
        del own.of(call)[call]
        if own:
            return own
        del self._callers[caller]
        return None

    def turn(self, call: Call, place: Place) -> None:
        """Take the call out to go to a worker: it is the next caller's turn."""
        own = self.remove(call, place)
        if own is not None:
            own.yields = not call.request.rank
            self._callers.move_to_end(call.request.caller)
        place.requeued = True

    def rank_at(self, now: float, age_seconds: float) -> int:
        """What the band counts as: a low call that has waited for `age_seconds` makes it an ordinary one."""
        oldest = next(iter(self.since.values()))
        if self._again:
            oldest = min(oldest, self.since[self._again[0]])
        return max(ORDINARY, self.rank - int((now - oldest) / age_seconds))


class Line:
    """Calls that may go where the line leads. `yields`: the worker's last call came from here, so it is the other line's turn.
    `waiting`: how many there are."""

    def __init__(self, age_seconds: float) -> None:
        self.age_seconds = age_seconds
        self.yields = False
        self._bands = (Band(ORDINARY), Band(LOW))
        self._served = 0
        self.waiting = 0

    def __len__(self) -> int:
        return self.waiting

    def __iter__(self) -> Iterator[Call]:
        return (call for band in self._bands for call in band.since)

    def _band(self, call: Call) -> Band:
        return self._bands[call.request.rank == LOW]

    def push(self, call: Call, place: Place, now: float) -> None:
        place.line = self
        self.waiting += 1
        self._band(call).push(call, place, now)

    def remove(self, call: Call, place: Place) -> None:
        """The call waits no more, without having had its turn."""
        place.line = None
        self.waiting -= 1
        self._band(call).remove(call, place)

    def turn(self, call: Call, place: Place) -> None:
        """The call, which is the head or was passed over, goes to a worker. If it comes back it goes before those that did not go yet."""
        place.line = None
        self.waiting -= 1
        band = self._band(call)
        band.turn(call, place)
        self._served += 1
        band.served = self._served

    def head(self, now: float) -> Call | None:
        band = self._next(now)
        return None if band is None else band.head(now, self.age_seconds)

    def rank(self, now: float) -> int:
        """What the head counts as; RANKS when nobody waits."""
        band = self._next(now)
        return RANKS if band is None else band.rank_at(now, self.age_seconds)

    def _next(self, now: float) -> Band | None:
        """The band whose turn it is: the ordinary one; when the low one counts the same, both take turns, so that it moves in the end."""
        ordinary, low = self._bands
        if not low.since:
            return ordinary if ordinary.since else None
        if not ordinary.since:
            return low
        return low if low.rank_at(now, self.age_seconds) == ORDINARY and low.served < ordinary.served else ordinary


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
