"""Calls on bulk lanes, to the replica that sent them: chunks, large results and large arguments.

TCP's window, and one answer to each message of chunks, hold back the tool; at most the worker's credit of chunks waits here. It knows
nothing of slots: whoever owns the calls is told how many chunks were taken, and how the stream ended.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from snakepit._ipc.sections import total
from snakepit._ipc.sockets import open_memfd, seal
from snakepit._wire.bulk import Cut, LaneBroken, Piece
from snakepit._wire.bulk_calls import BulkCall
from snakepit._wire.dial import Replica
from snakepit.v1 import link_pb2

MESSAGE_BYTES = 128 * 1024
"""Chunks that are there together go as one message, up to this size."""

OnTaken = Callable[[int], None]
OnEnd = Callable[[str], None]
OnIdle = Callable[[], None]


class Broken(Exception):
    """The stream ended before everything had come."""


class Stalled(Exception):
    """The other end did nothing for the idle time."""


@dataclass(frozen=True)
class Route:
    """Where a call's bulk lanes lead: the replica, and its id of the call. `idle_seconds`: call.streamIdleSeconds."""

    to: Replica
    remote: int
    idle_seconds: float

    async def open(self, *, listens: bool = False) -> BulkCall:
        """Raises LaneBroken."""
        assert self.to.bulk is not None, "agents' links have lanes"
        return await self.to.bulk.open(listens=listens)


async def fetch_arguments(route: Route, sections: Sequence[int]) -> int:
    """The arguments as a sealed memfd, which the caller closes. Raises Stalled and Broken."""
    try:
        bulk = await route.open(listens=True)
    except LaneBroken as error:
        raise Broken(error.details()) from error
    descriptor = open_memfd()
    try:
        await bulk.write(link_pb2.FromAgent(id=route.remote, wants_arguments=True).SerializeToString())
        await _receive(bulk, descriptor, total(sections), route.idle_seconds)
        seal(descriptor)
        bulk.release()
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, LaneBroken):
            raise Broken(error.details()) from error
        raise
    finally:
        bulk.cancel()
    return descriptor


async def _receive(bulk: BulkCall, descriptor: int, left: int, idle_seconds: float) -> None:
    try:
        while left:
            async with asyncio.timeout(idle_seconds):
                piece = await bulk.read()
            if not isinstance(piece, Piece):
                raise Broken(f"it ended {left} bytes too early")
            left -= piece.size
            if left < 0:
                raise Broken("more came than was announced")
            while piece.left:
                async with asyncio.timeout(idle_seconds):
                    await piece.store(descriptor)
    except TimeoutError:
        raise Stalled from None
    except Cut as cut:
        raise Broken(str(cut)) from None


@dataclass
class Item:
    """A chunk on its way. Of a large one the bytes are in `descriptor`, which whoever holds the item closes."""

    chunk: link_pb2.Chunk
    descriptor: int = -1
    bytes: int = 0
    on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            self.on_close()


class Delivery:
    """One call's chunks, or its large result, on their way to the caller.

    `on_taken(n)`: the consumer took n chunks. `on_idle`: it has taken all, and no more came, nor a word that its tool lives, for the
    idle time. `on_end(why)`: over, `why` empty when the consumer has all of it.
    """

    def __init__(self, route: Route, on_taken: OnTaken, on_idle: OnIdle, on_end: OnEnd) -> None:
        self._route = route
        self._on_taken = on_taken
        self._on_idle = on_idle
        self._on_end = on_end
        self._queue: deque[Item] = deque()
        self._untaken = 0
        self._wake = asyncio.Event()
        self._ended = False
        self._first = True
        self.task = asyncio.create_task(self._run(), name=f"chunks of call {route.remote}")

    def push(self, item: Item) -> None:
        """Queue a chunk; the one marked last ends the stream."""
        self._queue.append(item)
        self._ended = self._ended or item.chunk.last
        self._wake.set()

    def lives(self) -> None:
        """More is to come: the idle time begins anew."""
        self._wake.set()

    def abort(self) -> None:
        """Nobody wants the rest."""
        self.task.cancel()

    async def _run(self) -> None:
        why = "aborted"
        try:
            why = await self._carry()
        except TimeoutError:
            why = f"nothing was taken for {2 * self._route.idle_seconds:g} s"
        except LaneBroken as error:
            said = "" if error.code() is grpc.StatusCode.UNAVAILABLE else f"{error.code().name}: "
            why = f"the stream broke: {said}{error.details()}"
        except OSError as error:
            why = f"the stream broke: {error}"
        finally:
            for item in self._queue:
                item.close()
            self._on_end(why)

    async def _carry(self) -> str:
        """How it ended; empty: the consumer has all of it."""
        bulk = await self._route.open()
        bulk.be_patient(2 * self._route.idle_seconds)
        reader = asyncio.create_task(self._read(bulk))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._ended or self._queue:
                if await self._next(reader):
                    return "the consumer ended the stream"
                await self._write(bulk)
            await bulk.done_writing()
            # The replica ends a stream whose caller stalls; a replica that doesn't is given twice the time.
            async with asyncio.timeout(2 * self._route.idle_seconds):
                await reader
            return ""
        finally:
            bulk.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _next(self, reader: asyncio.Task[None]) -> bool:
        """Wait for something to write; True when the consumer has ended the stream instead."""
        while not self._queue and not reader.done():
            self._wake.clear()
            try:
                async with asyncio.timeout(self._route.idle_seconds):
                    await self._wake.wait()
            except TimeoutError:
                if not self._untaken:
                    self._on_idle()
        if reader.done():
            reader.result()
            return True
        return False

    async def _write(self, bulk: BulkCall) -> None:
        items = self._take()
        id_, self._first = (self._route.remote, False) if self._first else (0, False)
        self._untaken += len(items)
        try:
            await bulk.write(link_pb2.FromAgent(id=id_, chunks=[item.chunk for item in items]).SerializeToString())
            if items[-1].bytes:
                await bulk.write_file(items[-1].descriptor, items[-1].bytes)
        finally:
            items[-1].close()

    def _take(self) -> list[Item]:
        """What fits into a message; a chunk in pieces is its last."""
        items = [self._queue.popleft()]
        size = items[0].chunk.ByteSize()
        while self._queue and items[-1].descriptor < 0 and (size := size + self._queue[0].chunk.ByteSize()) <= MESSAGE_BYTES:
            items.append(self._queue.popleft())
        return items

    async def _read(self, bulk: BulkCall) -> None:
        while (message := await bulk.read()) is not None:
            if isinstance(message, bytes):
                taken = min(link_pb2.ToAgent.FromString(message).taken, self._untaken)
                self._untaken -= taken
                self._on_taken(taken)
