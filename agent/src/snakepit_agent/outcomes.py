"""Results that may not have reached their replica: kept for a moment, so that a link that comes back loses none (design: rule 6).

A stream that breaks doesn't say how much of it arrived. A result that is told twice does no harm; one that is lost makes the replica
run the call again. Pure and bounded; `now` is monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from snakepit.errors import Started
from snakepit.v1 import common_pb2, link_pb2

KEEP_SECONDS = 10.0
KEEP_BYTES = 8 * 1024 * 1024
KEEP_RESULTS = 4096
LARGE_BYTES = 256 * 1024
"""A larger result is not kept: its caller is told that the outcome was lost on the way."""


class Outcomes:
    """What one replica was told lately."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, int, link_pb2.Frame]] = deque()
        self._bytes = 0

    def remember(self, frame: link_pb2.Frame, now: float) -> None:
        size = frame.ByteSize()
        if size > LARGE_BYTES or frame.result.HasField("pieces"):
            frame = _lost(frame.result)
            size = frame.ByteSize()
        self._kept.append((now, size, frame))
        self._bytes += size
        while self._bytes > KEEP_BYTES or len(self._kept) > KEEP_RESULTS:
            self._drop()

    def expire(self, now: float) -> None:
        """Forget what a living link has certainly delivered."""
        while self._kept and now - self._kept[0][0] > KEEP_SECONDS:
            self._drop()

    def ids(self) -> Iterator[int]:
        """The replica's ids of the calls; for the hello."""
        return (frame.result.id for _, _, frame in self._kept)

    def take(self) -> list[link_pb2.Frame]:
        """Everything, to be told again."""
        frames = [frame for _, _, frame in self._kept]
        self._kept.clear()
        self._bytes = 0
        return frames

    def _drop(self) -> None:
        _, size, _ = self._kept.popleft()
        self._bytes -= size


def _lost(result: link_pb2.Result) -> link_pb2.Frame:
    error = common_pb2.Error(
        reason="REPLICA_LOST",
        message="the link broke while the result was on its way",
        started=int(Started.YES),  # type: ignore[arg-type]
    )
    slim = link_pb2.Result(
        id=result.id,
        call_id=result.call_id,
        worker=result.worker,
        incarnation=result.incarnation,
        run_seconds=result.run_seconds,
        error=error,
    )
    return link_pb2.Frame(result=slim)
