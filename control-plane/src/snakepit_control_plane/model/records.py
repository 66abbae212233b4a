"""What is remembered of calls that have ended: a ring of records for each pool, and its last hour (`history`). Pure.

All rings of a replica share one bound. Where it is reached, the longest rings lose their oldest records, so that a busy pool takes
none of a quiet one's. Where calls come so fast that a ring would reach back a few seconds only, not each is kept. Failures and slow
calls have a ring of their own, so that the usual ones don't displace them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from weakref import WeakSet

import msgspec

from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.call import Call, Leg
from snakepit_control_plane.model.history import Ended, History
from snakepit_control_plane.model.states import Path

KEPT_SECONDS = 30.0
"""A ring reaches back so far, at the least, if its pool is the only busy one: there its calls are sampled."""

BURST_SHARE = 0.25
"""Of a ring, that may be filled at once."""

NOTABLE_SHARE = 0.5
"""Of a pool's records, that failures and slow calls may be while there are others."""

ROOM_SHARE = 0.1
"""Of all records, that are taken away at once."""

COUNTED_AT_ONCE = 256
"""Calls go into the history together (see `History.count`)."""

MOST_POOLS = 1000
"""That have records and a history; others have none."""

MOST_TEXT = 256
"""Of what a caller or an author chose, characters that are kept: an id, a tool, an exception's class."""

MOST_BESIDE = 1024
"""A call up to here has no text that is longer."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A call that has ended, or is asked about while it is open. Nothing here keeps its frames. Times of the loop's clock.

    `path`, `queued_at`, `sent_at`, `ahead`: the last Leg's; `before`: those before it, and how often it was sent with them. `around`:
    the call_id of the call that it was made by.
    """

    call_id: str
    tool: str
    subject: str
    session_id: str
    epoch: int
    reason: str
    error_type: str
    started: common_pb2.Started
    worker: str
    incarnation: str
    came_at: float
    ended: float
    run_seconds: float
    bytes_in: int
    bytes_out: int
    rank: int
    depth: int
    around: str
    traceparent: str
    path: Path
    queued_at: float
    sent_at: float
    ahead: bool
    sent_before: int
    before: tuple[Leg, ...]

    @property
    def seconds(self) -> float:
        return self.ended - self.came_at

    @property
    def legs(self) -> tuple[Leg, ...]:
        """All of its ways, the first one first."""
        return (*self.before, Leg(self.path.events, self.queued_at, self.sent_at, self.ahead, self.worker, self.ended, self.reason))


def record_of(call: Call, result: link_pb2.Result | None, reason: str, now: float) -> Record:
    """Of a call that is answered with that; None: it is open."""
    request, nest, attempts, worker = call.request, call.nest, call.attempts, call.worker
    error_type, started, run_seconds, bytes_out, of, life = "", common_pb2.STARTED_UNSPECIFIED, 0.0, 0, "", ""
    if worker is not None:
        of, life = worker.id, worker.incarnation
    if result is not None:
        run_seconds, bytes_out = result.run_seconds, result.ByteSize()
        if reason == "TOOL_ERROR":
            error_type = result.tool_error.type[:MOST_TEXT]
        elif reason != "OK":
            started = result.error.started
            if reason == "WORKER_LOST":
                error_type = result.error.details.get("how", "")[:MOST_TEXT]
        if worker is None:
            # It has had the outcome of another one, of its idempotency key.
            of, life = result.worker, result.incarnation
        if call.sink is not None and result.HasField("pieces"):
            bytes_out += sum(result.pieces.sections)
    call_id, tool, session_id = request.call_id, request.tool, request.session_id
    if call.bytes > MOST_BESIDE:
        call_id, tool, session_id = call_id[:MOST_TEXT], tool[:MOST_TEXT], session_id[:MOST_TEXT]
    return Record(
        call_id,
        tool,
        request.who.subject,
        session_id,
        0 if call.session is None else call.message.session_epoch,
        reason,
        error_type,
        started,
        of,
        life,
        request.came_at,
        now,
        run_seconds,
        call.bytes,
        bytes_out,
        request.rank,
        0 if nest is None else nest.depth,
        "" if nest is None else next((each.call_id[:MOST_TEXT] for each in nest.around()), ""),
        call.message.traceparent[:MOST_TEXT],
        call.path,
        call.queued_at,
        call.sent_at,
        call.ahead,
        0 if attempts is None else attempts.sent,
        () if attempts is None else tuple(attempts.legs),
    )


class Ring:
    """Records in the order in which their calls ended. At most one in `gap` seconds is kept, but for a burst of BURST_SHARE."""

    __slots__ = ("burst", "due", "gap", "records")

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.due = -math.inf
        self.gap = self.burst = 0.0

    def pace(self, room: float) -> None:
        """So that so many records reach back for KEPT_SECONDS."""
        self.gap = KEPT_SECONDS / max(room, 1.0)
        self.burst = KEPT_SECONDS * BURST_SHARE

    def admits(self, now: float) -> bool:
        due, earliest = self.due, now - self.burst
        if due > now:
            return False
        self.due = (due if due > earliest else earliest) + self.gap
        return True

    def cut(self, most: int) -> None:
        """The oldest go."""
        records = self.records
        for _ in range(len(records) - most):
            records.popleft()


class PoolRecords:
    """Of one pool; it goes with it."""

    __slots__ = ("__weakref__", "_all", "_history", "_uncounted", "notable", "usual")

    def __init__(self, every: Records, room: float) -> None:
        self._all = every
        self._history = History(every.wall)
        self._uncounted: list[Ended] = []
        self.usual, self.notable = Ring(), Ring()
        self.pace(room)

    def __len__(self) -> int:
        return len(self.usual.records) + len(self.notable.records)

    def __iter__(self) -> Iterator[Record]:
        """The newest first."""
        usual, notable = reversed(self.usual.records), reversed(self.notable.records)
        left, right = next(usual, None), next(notable, None)
        while left is not None or right is not None:
            if right is None or (left is not None and left.ended >= right.ended):
                assert left is not None
                yield left
                left = next(usual, None)
            else:
                yield right
                right = next(notable, None)

    @property
    def history(self) -> History:
        """Of all calls that have ended."""
        self._history.count(self._uncounted)
        self._uncounted.clear()
        return self._history

    def ended(self, call: Call, result: link_pb2.Result, reason: str, now: float) -> None:
        """The call is answered with that. On the path of each call: what can be done for many at once isn't done here."""
        seconds, place, uncounted = now - call.request.came_at, call.place, self._uncounted
        uncounted.append((now, seconds, 0.0 if place is None else place.before + place.waited, reason))
        if len(uncounted) == COUNTED_AT_ONCE or now >= self._history.end:
            _ = self.history
        ring = self.usual if reason == "OK" and seconds <= self._history.slow_seconds else self.notable
        if ring.due <= now and ring.admits(now):
            ring.records.append(record_of(call, result, reason, now))
            self._all.one_more()

    def pace(self, room: float) -> None:
        """The pool may have so many records now."""
        self.usual.pace(room * (1 - NOTABLE_SHARE))
        self.notable.pace(room * NOTABLE_SHARE)

    def cut(self, most: int) -> None:
        if len(self) > most:
            self.usual.cut(max(int(most * (1 - NOTABLE_SHARE)), most - len(self.notable.records)))
            self.notable.cut(most - len(self.usual.records))


class Records:
    """Of all pools of a replica: so many records at the `most`; 0: none, and no history. `wall`: what to add to the loop's clock to have
    seconds since the epoch."""

    def __init__(self, most: int, wall: Callable[[], float] = lambda: 0.0) -> None:
        self.most = most
        self.wall = wall
        self._room = most
        self._pools: WeakSet[PoolRecords] = WeakSet()

    def of_pool(self) -> PoolRecords | None:
        """Those of a pool that has none yet; None: it gets none."""
        if not self.most or len(self._pools) >= MOST_POOLS:
            return None
        made = PoolRecords(self, self.most)
        self._pools.add(made)
        return made

    def one_more(self) -> None:
        self._room -= 1
        if self._room < 0:
            self._make_room()

    def _make_room(self) -> None:
        pools = list(self._pools)
        most = level(map(len, pools), int(self.most * (1 - ROOM_SHARE)))
        for pool in pools:
            pool.cut(most)
            pool.pace(most)
        self._room = self.most - sum(map(len, pools))


def level(lengths: Iterable[int], most: int) -> int:
    """How long each may be, so that they have no more than `most` together and none that is shorter than others loses anything."""
    left = sorted(lengths)
    for place, length in enumerate(left):
        share = most // (len(left) - place)
        if length > share:
            return share
        most -= length
    return left[-1] if left else most
