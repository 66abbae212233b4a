"""Results that may not have reached their replica: kept until a link that broke is known to be broken.

A stream that breaks doesn't say how much of it arrived, and a peer that fell silent is noticed late. A result that is told twice does no
harm; one that is lost makes the replica run the call again. So of what is too much to be kept, the replica is still told that it has
run. Pure and bounded; `now` is monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from snakepit._wire.channels import SILENT_SECONDS
from snakepit.errors import Started
from snakepit.v1 import common_pb2, link_pb2

KEEP_SECONDS = SILENT_SECONDS + 5.0
KEEP_BYTES = 8 * 1024 * 1024
KEEP_RESULTS = 8192
"""More than a capsule can hold of one replica: no calls come any more over a link that has broken, so what was lost is among the last."""

LARGE_BYTES = 256 * 1024
"""A larger result is not kept: its caller is told that the outcome was lost on the way."""


Kept = tuple[float, int, bytes]
"""When it was told, the replica's id of the call, and the Result's frame as it went over the link."""


class ResendBuffer:
    """What one replica was told lately: whole the latest, and before them, as far as KEEP_BYTES don't reach, only that they ran."""

    def __init__(self) -> None:
        self._slim: deque[Kept] = deque()
        self._kept: deque[Kept] = deque()
        self._bytes = 0

    def remember(self, frame: link_pb2.Frame, now: float) -> bytes:
        """Keep it, or what stands for it; returns the frame itself as it goes over the link."""
        data = kept = frame.SerializeToString()
        result = frame.result
        if len(data) > LARGE_BYTES or result.HasField("pieces"):
            kept = _lost(result)
        self._kept.append((now, result.id, kept))
        self._bytes += len(kept)
        while self._bytes > KEEP_BYTES:
            at, id_, dropped = self._drop()
            self._slim.append((at, id_, _lost(link_pb2.Frame.FromString(dropped).result)))
        if len(self._kept) + len(self._slim) > KEEP_RESULTS:
            self._drop_oldest()
        return data

    def expire(self, now: float) -> None:
        """Forget what a living link has certainly delivered."""
        while self._slim and now - self._slim[0][0] > KEEP_SECONDS:
            self._slim.popleft()
        while self._kept and now - self._kept[0][0] > KEEP_SECONDS:
            self._drop()

    def ids(self) -> Iterator[int]:
        """The replica's ids of the calls; for the hello."""
        return (id_ for _, id_, _ in chain(self._slim, self._kept))

    def take(self) -> list[link_pb2.Frame]:
        """Take everything out, to be told again."""
        frames = [link_pb2.Frame.FromString(data) for _, _, data in chain(self._slim, self._kept)]
        self._slim.clear()
        self._kept.clear()
        self._bytes = 0
        return frames

    def _drop_oldest(self) -> None:
        if self._slim:
            self._slim.popleft()
        else:
            self._drop()

    def _drop(self) -> Kept:
        oldest = self._kept.popleft()
        self._bytes -= len(oldest[2])
        return oldest


def _lost(result: link_pb2.Result) -> bytes:
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
    return link_pb2.Frame(result=slim).SerializeToString()
