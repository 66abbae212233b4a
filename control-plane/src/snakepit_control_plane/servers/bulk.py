"""Bulk lanes at a replica: what comes on one is served by the servicers of Pipe and Carry, one call after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc
from google.rpc.status_pb2 import Status as RpcStatus

from snakepit._ipc.sections import PIECE_HEADER, piece_of
from snakepit._wire.bulk import END, FAILED, LAST, MESSAGE, PIECE, Bulk, LaneBroken, Moved, Piece, opened
from snakepit._wire.lane import Lane
from snakepit._wire.status import TRAILER, Metadata, to_status
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.servers.lanes import Lanes
from snakepit_control_plane.servers.rpc import EOF

MOST_LANES = 512
"""At a replica, of all its links together: whoever comes then takes HTTP/2."""

MOST_OF_A_LINK = 72
"""Of one link: what its other end opens, and a few that it has hung up a moment ago."""

IDLE_SECONDS = 20.0
"""A lane on which no call has begun for so long is hung up. The other end does so after half of it, so that no call meets that."""

SETTLE_SECONDS = 5.0
"""For the other end's END, when a call has ended."""

Serve = Callable[[object, Any], Awaitable[None]]

log = logging.getLogger(__name__)


class _Aborted(Exception):
    """The other end has been told how its call failed."""


class BulkServer:
    """`methods`: the servicer of each kind of call. One for each replica."""

    def __init__(self, methods: Mapping[int, Serve]) -> None:
        self.methods = methods
        self.leaves = False
        self.tasks: set[asyncio.Task[None]] = set()

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


class BulkGroup:
    """The bulk lanes of one link: they end with it, unless it is the replica that leaves. `caller` stands for it where fairness counts."""

    def __init__(self, server: BulkServer, lanes: Lanes, caller: str) -> None:
        self._server = server
        self._lanes = lanes
        self._caller = caller
        self._ticket = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def offer(self, offered: link_pb2.Lane) -> None:
        """Say in the Welcome that there are some."""
        self._ticket = offered.bulk_ticket = self._lanes.offer_bulk(self._came)

    def _came(self, lane: Lane, ticket: bytes) -> None:
        full = self._server.count >= MOST_LANES or len(self._tasks) >= MOST_OF_A_LINK
        sock = None if self._closed or full else lane.detach(ticket)
        if sock is None:
            lane.abort()
            return
        bulk = Bulk(sock)
        task = asyncio.create_task(self._serve(bulk), name=f"bulk lane of {self._caller}")
        self._tasks.add(task)
        self._server.tasks.add(task)
        task.add_done_callback(partial(self._ended, bulk))

    def close(self) -> None:
        self._closed = True
        self._lanes.withdraw_bulk(self._ticket)
        if not self._server.leaves:
            for task in self._tasks:
                task.cancel()

    def _ended(self, lane: Bulk, task: asyncio.Task[None]) -> None:
        lane.abort()
        self._server.tasks.discard(task)
        self._tasks.discard(task)

    async def _serve(self, lane: Bulk) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    kind, first = await lane.read()
                method = self._server.methods.get(kind & ~LAST)
                if method is None or not isinstance(first, bytes):
                    break
                call = _Call(lane, *opened(first), self._caller, listens=bool(kind & LAST))
                if not await call.run(method):
                    break
        except (LaneBroken, TimeoutError):
            pass  # It has hung up, as it does when it wants nothing more.


class _Call:
    """One call, with those methods of a servicer's context that Pipe and Carry use. A piece is read as a Piece."""

    def __init__(self, lane: Bulk, metadata: Metadata, first: bytes, caller: str, *, listens: bool) -> None:
        self._metadata = metadata
        self._lane = lane
        self._first: bytes | None = first
        self._caller = caller
        self._heard_end = listens
        self._handler: asyncio.Task[None] | None = None

    async def run(self, method: Serve) -> bool:
        """False: the lane can't be used again."""
        handler = self._handler = asyncio.ensure_future(_awaited(method(None, self)))
        watcher = asyncio.create_task(self._watch(handler)) if self._heard_end else None
        try:
            await asyncio.wait((handler,))
        finally:
            tasks = [handler] if watcher is None else [handler, watcher]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._say_end(handler)

    async def _say_end(self, handler: asyncio.Task[None]) -> bool:
        if handler.cancelled():
            return False
        error = handler.exception()
        if isinstance(error, LaneBroken):
            return False
        if error is None:
            await self._lane.write(END)
        elif not isinstance(error, _Aborted):
            log.error("a call on a bulk lane failed", exc_info=error)
            await self._fail(to_status(SnakepitError(f"the control plane could not handle this: {error!r}"))[2])
        if not self._heard_end:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._lane.until_end()
        return True

    async def _watch(self, handler: asyncio.Task[None]) -> None:
        await self._lane.until_hangup()
        handler.cancel()

    # ---- what servicers use

    def peer(self) -> str:
        return self._caller

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    async def read(self) -> Any:
        """bytes, a Piece, or EOF."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._heard_end:
            return EOF
        try:
            kind, message = await self._lane.read()
        except LaneBroken:
            if self._handler is not None:
                self._handler.cancel()
            raise
        if kind in (MESSAGE, PIECE):
            return message
        self._heard_end = True
        return EOF

    async def write(self, message: bytes) -> None:
        """As gRPC's, it ends the handler when the other end has gone."""
        if message[:1] == PIECE_HEADER:
            await self._write(PIECE, piece_of(message))
        else:
            await self._write(MESSAGE, message)

    async def pour(self, piece: Piece, moved: Moved) -> None:
        """A piece of another bulk lane. Raises Cut."""
        try:
            await piece.pour(self._lane, moved)
        except LaneBroken as error:
            raise asyncio.CancelledError(error.details()) from error

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Metadata = ()) -> None:
        await self._fail(trailers or ((TRAILER, RpcStatus(code=code.value[0], message=message).SerializeToString()),))
        raise _Aborted

    async def _fail(self, trailers: Metadata) -> None:
        status = dict(trailers)[TRAILER]
        assert isinstance(status, bytes)
        await self._write(FAILED, status)

    async def _write(self, kind: int, body: bytes | memoryview) -> None:
        try:
            await self._lane.write(kind, body)
        except LaneBroken as error:
            raise asyncio.CancelledError(error.details()) from error


async def _awaited(work: Awaitable[None]) -> None:
    await work
