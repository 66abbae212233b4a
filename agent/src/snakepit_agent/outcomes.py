"""Results that may not have reached their replica: kept until a link that broke is known to be broken (design: rule 6).

A stream that breaks doesn't say how much of it arrived, and a peer that fell silent is noticed late. A result that is told twice does no
harm; one that is lost makes the replica run the call again. So of what is too much to be kept, the replica is still told that it has
run. Pure and bounded; `now` is monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from snakepit.errors import Started
from snakepit.link.channels import SILENT_SECONDS
from snakepit.v1 import common_pb2, link_pb2

KEEP_SECONDS = SILENT_SECONDS + 5.0
KEEP_BYTES = 8 * 1024 * 1024
KEEP_RESULTS = 8192
"""More than a capsule can hold of one replica: no calls come any more over a link that has broken, so what was lost is among the last."""

LARGE_BYTES = 256 * 1024
"""A larger result is not kept: its caller is told that the outcome was lost on the way."""


class Outcomes:
    """What one replica was told lately: whole the latest, and before them, as far as KEEP_BYTES don't reach, only that they ran."""

    def __init__(self) -> None:
        self._slim: deque[tuple[float, link_pb2.Frame]] = deque()
        self._kept: deque[tuple[float, int, link_pb2.Frame]] = deque()
        self._bytes = 0

    def remember(self, frame: link_pb2.Frame, now: float) -> None:
        size = frame.ByteSize()
        if size > LARGE_BYTES or frame.result.HasField("pieces"):
            frame = _lost(frame.result)
            size = frame.ByteSize()
        self._kept.append((now, size, frame))
        self._bytes += size
        while self._bytes > KEEP_BYTES:
            at, frame = self._drop()
            self._slim.append((at, _lost(frame.result)))
        if len(self._kept) + len(self._slim) > KEEP_RESULTS:
            self._drop_oldest()

    def expire(self, now: float) -> None:
        """Forget what a living link has certainly delivered."""
        while self._slim and now - self._slim[0][0] > KEEP_SECONDS:
            self._slim.popleft()
        while self._kept and now - self._kept[0][0] > KEEP_SECONDS:
            self._drop()

    def ids(self) -> Iterator[int]:
        """The replica's ids of the calls; for the hello."""
        return (frame.result.id for frame in self._frames())

    def take(self) -> list[link_pb2.Frame]:
        """Everything, to be told again."""
        frames = list(self._frames())
        self._slim.clear()
        self._kept.clear()
        self._bytes = 0
        return frames

    def _frames(self) -> Iterator[link_pb2.Frame]:
        return chain((frame for _, frame in self._slim), (frame for _, _, frame in self._kept))

    def _drop_oldest(self) -> None:
        if self._slim:
            self._slim.popleft()
        else:
            self._drop()

    def _drop(self) -> tuple[float, link_pb2.Frame]:
        at, size, frame = self._kept.popleft()
        self._bytes -= size
        return at, frame


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
