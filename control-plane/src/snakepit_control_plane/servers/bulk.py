"""Bulk lanes at a replica: what comes on one is served one call after another, by whoever serves the link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from snakepit._ipc.sections import Bytes
from snakepit._wire.bulk import END, FAILED, LAST, MESSAGE, OPEN, PIECE, Bulk, LaneBroken, Moved, Piece
from snakepit._wire.connect import Connection
from snakepit._wire.status import TRAILER, to_status
from snakepit._wire.turns import Turns
from snakepit.errors import SnakepitError

MOST_LANES = 4096
"""At a replica, of all its links together: for whoever comes then one without a call is hung up. Where each has one, who comes is hung
up on, and tries again."""

MOST_OF_A_LINK = 1100
"""Of one link; what its other end opens, and some that it has hung up a moment ago."""

MOST_OF_A_CALLER = MOST_LANES // 2
"""Of all links of one subject, or, where nobody is asked who it is, of one address."""

IDLE_SECONDS = 20.0
"""A lane on which no call has begun for so long is hung up. The other end does so after half of it, so that no call meets that."""

SETTLE_SECONDS = 5.0
"""For the other end's END, when a call has ended."""

log = logging.getLogger(__name__)


class BulkServer:
    """All bulk lanes of a replica."""

    def __init__(self) -> None:
        self.leaves = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.turns = Turns()
        self.endings = Turns()
        """Of lanes that end: to hang up takes 20 us, and a link may have a thousand."""
        self.groups: set[BulkGroup] = set()
        """Those that have lanes."""

    @property
    def count(self) -> int:
        """Open lanes."""
        return len(self.tasks)

    async def finish(self, seconds: float) -> None:
        """When this replica leaves, other ends hang up when they have read what there is; after so long they are hung up on."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in self.tasks:
            task.cancel()


class BulkCall:
    """One call on a lane, at the serving end. Where the other end has hung up, its methods cancel whoever serves it."""

    def __init__(self, lane: Bulk, first: bytes, *, listens: bool) -> None:
        self._lane = lane
        self._first: bytes | None = first
        self._heard_end = listens
        self._handler: asyncio.Task[None] | None = None

    async def read(self) -> bytes | Piece | None:
        """A message, a piece of a payload, or None when nothing more comes."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._heard_end:
            return None
        try:
            kind, message = await self._lane.read()
        except LaneBroken:
            if self._handler is not None:
                self._handler.cancel()
            raise
        if kind in (MESSAGE, PIECE):
            return message
        self._heard_end = True
        return None

    async def write(self, message: bytes) -> None:
        await self._write(MESSAGE, message)

    async def write_piece(self, piece: Piece | Sequence[Bytes], moved: Moved = lambda size: None) -> None:
        """One that is here, or one that is still at whoever sent it, in its lane; `moved` is told how much of that has gone. Raises Cut."""
        if not isinstance(piece, Piece):
            await self._write(PIECE, *piece)
            return
        try:
            await piece.pour(self._lane, moved)
        except LaneBroken as error:
            raise asyncio.CancelledError(error.details()) from error

    async def _write(self, kind: int, *parts: Bytes) -> None:
        try:
            await self._lane.write(kind, *parts)
        except LaneBroken as error:
            raise asyncio.CancelledError(error.details()) from error

    async def run(self, serve: Serve) -> bool:
        """False: the lane can't be used again."""
        handler = self._handler = asyncio.ensure_future(_awaited(serve(self)))
        watcher = asyncio.create_task(self._watch(handler)) if self._heard_end else None
        try:
            await asyncio.wait((handler,))
        finally:
            tasks = [handler] if watcher is None else [handler, watcher]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._say_end(handler)

    async def _watch(self, handler: asyncio.Task[None]) -> None:
        await self._lane.until_hangup()
        handler.cancel()

    async def _say_end(self, handler: asyncio.Task[None]) -> bool:
        if handler.cancelled():
            return False
        error = handler.exception()
        if isinstance(error, LaneBroken):
            return False
        if error is None:
            await self._lane.write(END)
        else:
            if not isinstance(error, SnakepitError):
                log.error("a call on a bulk lane failed", exc_info=error)
                error = SnakepitError(f"the control plane could not handle this: {error!r}")
            status = dict(to_status(error)[2])[TRAILER]
            assert isinstance(status, bytes)
            await self._lane.write(FAILED, status)
        if not self._heard_end:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._lane.until_end()
        return True


Serve = Callable[[BulkCall], Awaitable[None]]


class BulkGroup:
    """The bulk lanes of one link: they end with it, unless it is the replica that leaves. `serve` carries a call out; it may raise
    SnakepitError, which the other end is told. `whose`: all groups of that name together have a bound, too."""

    def __init__(self, server: BulkServer, name: str, serve: Serve, whose: str = "") -> None:
        self.whose = whose
        self._server = server
        self._name = name
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: dict[asyncio.Task[None], None] = {}
        """Lanes that have no call, the one that has had none for longest first."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, sock: Connection) -> bool:
        """A connection that has shown the link's bulk ticket; False: there are too many."""
        if self._closed or not self._has_room():
            return False
        lane = Bulk(sock, self._server.turns, self._server.endings)
        task = asyncio.create_task(self._run(lane), name=f"bulk lane of {self._name}")
        self._tasks.add(task)
        self._idle[task] = None
        self._server.tasks.add(task)
        self._server.groups.add(self)
        task.add_done_callback(partial(self._ended, lane))
        return True

    def close(self) -> None:
        """Its lanes end, one in each turn of the loop."""
        self._closed = True
        if not self._server.leaves and self._tasks:
            self._server.endings.wait(partial(self._end_one, list(self._tasks)))

    def _end_one(self, left: list[asyncio.Task[None]]) -> None:
        left.pop().cancel()
        if left:
            self._server.endings.wait(partial(self._end_one, left))

    def hang_up_idle(self) -> bool:
        """One that has no call. False: each has one."""
        if not self._idle:
            return False
        task = next(iter(self._idle))
        del self._idle[task]
        task.cancel()
        return True

    def _has_room(self) -> bool:
        """For one more; where there was none, that of a lane without a call is given to it."""
        server = self._server
        if len(self) >= MOST_OF_A_LINK:
            return self.hang_up_idle()
        if self.whose and server.count >= MOST_OF_A_CALLER:
            mine = [group for group in server.groups if group.whose == self.whose]
            if sum(map(len, mine)) >= MOST_OF_A_CALLER:
                return any(group.hang_up_idle() for group in mine)
        if server.count >= MOST_LANES:
            return any(group.hang_up_idle() for group in sorted(server.groups, key=len, reverse=True))
        return True

    def _ended(self, lane: Bulk, task: asyncio.Task[None]) -> None:
        lane.abort()
        self._idle.pop(task, None)
        self._server.tasks.discard(task)
        self._tasks.discard(task)
        if not self._tasks:
            self._server.groups.discard(self)

    async def _run(self, lane: Bulk) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    kind, first = await lane.read()
                self._idle.pop(task, None)
                if kind & ~LAST != OPEN or not isinstance(first, bytes):
                    break
                if not await BulkCall(lane, first, listens=bool(kind & LAST)).run(self._serve):
                    break
                self._idle[task] = None
        except (LaneBroken, TimeoutError):
            pass  # It has hung up, as it does when it wants nothing more.
        finally:
            del task  # A task that is cancelled keeps its error, and that this frame.


async def _awaited(work: Awaitable[None]) -> None:
    await work
