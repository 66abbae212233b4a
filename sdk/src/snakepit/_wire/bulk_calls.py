"""The dialling end of bulk lanes: those of one link, kept for the next call, and one call on one of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import grpc

from snakepit._ipc.sections import Bytes, cut
from snakepit._tasks import Tasks
from snakepit._wire.bulk import END, FAILED, LAST, MESSAGE, OPEN, PIECE, WRITTEN_PIECE_BYTES, Bulk, LaneBroken, Piece
from snakepit._wire.connect import Tls, dial

MOST_LANES = 1024
"""Of one link; more calls wait for one of them."""

MOST_IDLE = 8

IDLE_SECONDS = 10.0
"""A lane that no call has taken for so long is hung up: a replica has only so many, for all of its links together."""

CONNECT_SECONDS = 5.0
"""A lane that can't be had for so long is given up, and with it its call."""

AGAIN_SECONDS = 0.1

SETTLE_SECONDS = 5.0
"""For the other end's END, when all that it has to say has come."""


class BulkLanes:
    """Of one link, for as long as it is open."""

    def __init__(self, host: str, port: int, ticket: bytes, tls: Callable[[], Tls | None] = lambda: None) -> None:
        self._host, self._port, self._ticket, self._tls = host, port, ticket, tls
        # With the time since when; the one that was used last is taken first.
        self._idle: list[tuple[Bulk, float]] = []
        self._weeding: asyncio.TimerHandle | None = None
        self._busy: set[Bulk] = set()
        self._room = asyncio.Semaphore(MOST_LANES)
        self._settling = Tasks()
        self._closed = False

    async def open(self, timeout: float | None = None, *, listens: bool = False) -> BulkCall:
        """A call, which has not said anything yet. `timeout` in seconds. Raises LaneBroken."""
        try:
            async with asyncio.timeout(timeout):
                lane = await self.take()
        except TimeoutError:
            raise LaneBroken(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before a bulk lane was free") from None
        return BulkCall(self, lane, timeout, listens=listens)

    async def take(self) -> Bulk:
        """A lane with no call on it. Waits while there are too many. Raises LaneBroken where none is to be had."""
        await self._room.acquire()
        try:
            lane = self._kept() or await self._dial()
        except BaseException:
            self._room.release()
            raise
        self._busy.add(lane)
        return lane

    def _kept(self) -> Bulk | None:
        while self._idle:
            if (lane := self._idle.pop()[0]).is_quiet:
                return lane
            lane.abort()
        return None

    async def _dial(self) -> Bulk:
        now = asyncio.get_running_loop().time
        until = now() + CONNECT_SECONDS
        while not self._closed and now() < until:
            sock = await dial(self._host, self._port, self._ticket, max(0.0, until - now()), self._tls())
            if sock is not None:
                lane = Bulk(sock)
                if not self._closed:
                    return lane
                lane.abort()
            await asyncio.sleep(AGAIN_SECONDS)
        why = "the link has ended" if self._closed else f"no lane could be opened to {self._host}:{self._port}"
        raise LaneBroken(grpc.StatusCode.UNAVAILABLE, why)

    def give_back(self, lane: Bulk) -> None:
        """Both ends have ended its call."""
        lane.patience = None
        if len(self._idle) >= MOST_IDLE or self._closed:
            lane.abort()
        else:
            loop = asyncio.get_running_loop()
            self._idle.append((lane, loop.time()))
            if self._weeding is None:
                self._weeding = loop.call_later(IDLE_SECONDS, self._weed)
        self._leave(lane)

    def hang_up(self, lane: Bulk) -> None:
        lane.abort()
        self._leave(lane)

    def _leave(self, lane: Bulk) -> None:
        """It has no call any more, and whoever has waited longest has room."""
        if lane in self._busy:
            self._busy.remove(lane)
            self._room.release()

    def _weed(self) -> None:
        """Those that have been idle for too long are the first ones."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][1] + IDLE_SECONDS <= loop.time():
            self._idle.pop(0)[0].abort()
        self._weeding = loop.call_at(self._idle[0][1] + IDLE_SECONDS, self._weed) if self._idle else None

    def settle(self, call: BulkCall) -> None:
        """Its end is on its way."""
        self._settling.spawn(call.settle(), name="end of a call on a bulk lane")

    def close(self) -> None:
        """The link has ended. Calls that are under way go on; each lane is hung up after its call."""
        self._closed = True
        for lane, _ in self._idle:
            lane.abort()
        self._idle.clear()
        if self._weeding is not None:
            self._weeding.cancel()

    def cut(self) -> None:
        """The link has broken, or is wanted no more, and all its calls with it."""
        self.close()
        for lane in list(self._busy):
            self.hang_up(lane)


class BulkCall:
    """One call. `listens`: after the first message there is nothing more to be said. Every method that waits raises LaneBroken."""

    def __init__(self, lanes: BulkLanes, lane: Bulk, timeout: float | None, *, listens: bool) -> None:
        self._lanes = lanes
        self._lane = lane
        self._opened = False
        self._listens = listens
        self._said_end = self._heard_end = self._over = False
        self._timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._expire)

    async def write(self, message: bytes) -> None:
        """The first one opens the call."""
        if self._opened:
            await self._lane.write(MESSAGE, message)
            return
        self._opened, self._said_end = True, self._listens
        await self._lane.write(OPEN | (LAST if self._listens else 0), message)

    async def write_payload(self, parts: Sequence[Bytes], going_on: Callable[[], bool] = lambda: True) -> None:
        """A payload's pieces, for as long as `going_on()`."""
        for piece in cut(parts, WRITTEN_PIECE_BYTES):
            if not going_on():
                return
            await self._lane.write(PIECE, *piece)

    async def write_file(self, descriptor: int, size: int) -> None:
        """All of a file as pieces. Raises OSError where it is shorter."""
        for at in range(0, size, WRITTEN_PIECE_BYTES):
            await self._lane.write_file(descriptor, at, min(WRITTEN_PIECE_BYTES, size - at))

    async def read(self) -> bytes | Piece | None:
        """A message, a piece of a payload, or None when the other end has ended the call well."""
        if self._heard_end:
            return None
        kind, message = await self._lane.read()
        if kind in (MESSAGE, PIECE):
            return message
        self._heard_end = True
        if kind == FAILED and isinstance(message, bytes):
            raise LaneBroken.said(message)
        return None

    async def done_writing(self) -> None:
        if not self._said_end:
            self._said_end = True
            await self._lane.write(END)

    def be_patient(self, seconds: float) -> None:
        """A write that waits longer raises TimeoutError."""
        self._lane.patience = seconds

    def cancel(self) -> None:
        """Nobody wants more of it."""
        if not self._over:
            self._finish()
            if self._said_end and self._heard_end:
                self._lanes.give_back(self._lane)
            else:
                self._lanes.hang_up(self._lane)

    def release(self) -> None:
        """All of it has come but the other end's END."""
        with contextlib.suppress(RuntimeError):  # No loop runs: it ends with the interpreter.
            if self._said_end and self._heard_end:
                self.cancel()
            elif not self._over:
                self._finish()
                self._lanes.settle(self)

    async def settle(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.done_writing()
                if not self._heard_end:
                    await self._lane.until_end()
        except BaseException as error:
            self._lanes.hang_up(self._lane)
            if not isinstance(error, LaneBroken | TimeoutError):
                raise
        else:
            self._lanes.give_back(self._lane)

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._lane.abort("the deadline passed", grpc.StatusCode.DEADLINE_EXCEEDED)
