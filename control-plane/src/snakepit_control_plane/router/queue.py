"""Where calls wait: one bounded queue for each pool, with a line for anybody's calls and one for each worker that calls are pinned to.

Pure. Order is priority, then arrival number, so a call that comes back from an agent gets its old place. Leaving is O(1): a heap
entry whose call has left is skipped, and the heap is rebuilt when most of it is such.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakepit_control_plane.router.calls import Call
    from snakepit_control_plane.router.workers import Worker

_SLACK = 64


class Line:
    """Calls in the order in which they may go."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Call]] = []
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def __iter__(self) -> Iterator[Call]:
        return iter([call for _, _, call in self._heap if call.line is self])

    def push(self, call: Call) -> None:
        call.line = self
        self._live += 1
        heapq.heappush(self._heap, (call.rank, call.arrival, call))

    def remove(self, call: Call) -> None:
        call.line = None
        self._live -= 1
        if len(self._heap) > 2 * self._live + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2].line is self]
            heapq.heapify(self._heap)

    def head(self) -> Call | None:
        heap = self._heap
        while heap and heap[0][2].line is not self:
            heapq.heappop(heap)
        return heap[0][2] if heap else None


class PoolQueue:
    """All that waits in one pool at this replica. `depth` includes calls that wait for their session's turn."""

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.depth = 0
        self.anybody = Line()
        self.pinned: dict[Worker, Line] = {}

    @property
    def is_full(self) -> bool:
        return self.depth >= self.max_size

    def enter(self, call: Call) -> None:
        """Count the call as waiting (once, however often it changes lines)."""
        if not call.waiting:
            call.waiting = True
            self.depth += 1

    def leave(self, call: Call) -> None:
        """The call goes to a worker, or has ended."""
        if call.line is not None:
            call.line.remove(call)
        if call.waiting:
            call.waiting = False
            self.depth -= 1

    def push(self, call: Call, pin: Worker | None = None) -> None:
        self.enter(call)
        line = self.anybody if pin is None else self.pinned.setdefault(pin, Line())
        line.push(call)

    def next_for(self, worker: Worker) -> Call | None:
        """The head of the worker's own line, if it came before the head of the common one."""
        line = self.pinned.get(worker)
        mine = line.head() if line is not None else None
        if mine is None:
            self.pinned.pop(worker, None)
            return None
        other = self.anybody.head()
        return mine if other is None or mine.order < other.order else None

    def unpin(self, worker: Worker) -> list[Call]:
        """Take out all calls that waited for this worker, in order; they still count as waiting."""
        line = self.pinned.pop(worker, None)
        calls = []
        while line is not None and (call := line.head()) is not None:
            line.remove(call)
            calls.append(call)
        return calls

    def everybody(self) -> list[Call]:
        """All that stand in a line."""
        lines = [self.anybody, *self.pinned.values()]
        return [call for line in lines for call in line]
