"""What carries a link's frames where no lane can be had: its gRPC stream, with a lane's methods."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._wire.lane import OnMessage, in_turns
from snakepit._wire.turns import Turns
from snakepit.v1 import link_pb2


class StreamLane:
    """The link's gRPC stream in place of a lane.

    `read` gives the next message or grpc.aio.EOF; `write` sends one of type `message`: the methods of a grpc.aio call or of a servicer
    context. `done_writing` half-closes the stream: the dialling end gives it, so that its last frames are read before it hangs up.
    `turns`: as of a Lane.
    """

    name = "stream"

    def __init__(
        self,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[Any], Awaitable[Any]],
        message: type[link_pb2.LinkRequest] | type[link_pb2.LinkResponse],
        done_writing: Callable[[], Awaitable[Any]] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_full = False
        self._read, self._write, self._message, self._done_writing = read, write, message, done_writing
        self._unwritten: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._finishing = False
        self._turns = turns or Turns()
        self._tasks: list[asyncio.Task[None]] = []

    def attach(self, take: OnMessage, on_room: Callable[[], None]) -> None:
        """As of a Lane."""
        self._tasks = [asyncio.create_task(work, name="frames on a stream") for work in (self._write_all(on_room), self._read_all(take))]

    @property
    def is_open(self) -> bool:
        return not self.ended.done()

    def write(self, message: bytes) -> None:
        """gRPC takes one message at a time: until it has taken this one, a link's frames are kept, so that they travel together."""
        self._unwritten.append(message)
        self.is_full = True
        self._more.set()

    async def finish(self, seconds: float) -> None:
        """As of a Lane. Who serves the stream ends it by itself."""
        self._finishing = True
        self._more.set()
        await asyncio.wait(self._tasks[:1], timeout=seconds)
        if self._done_writing is not None and not self.ended.done():
            await asyncio.wait((self.ended,), timeout=seconds)

    async def catch_up(self, seconds: float) -> None:
        """As of a Lane, whose turns these have not."""

    def abort(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._end("the link was given up")

    async def _read_all(self, take: OnMessage) -> None:
        try:
            while (message := await self._read()) is not EOF:
                await in_turns(message.frames, take, self._turns)
            self._end("the peer ended the stream")
        except grpc.RpcError as error:
            self._end(_rpc_reason(error))
        except Exception as error:
            self._end(f"the stream can't be read: {error!r}")
        finally:  # Or the link would be there for good, and nobody would read it.
            self._end("the stream was cancelled")

    async def _write_all(self, on_room: Callable[[], None]) -> None:
        try:
            while self._unwritten or not self._finishing:
                await self._more.wait()
                self._more.clear()
                while self._unwritten:
                    await self._write(self._message.FromString(self._unwritten.popleft()))
                self.is_full = False
                on_room()
            if self._done_writing is not None:
                await self._done_writing()
        except grpc.RpcError as error:
            self._end(_rpc_reason(error))
        except Exception as error:  # grpc.aio raises several kinds once the stream has ended
            self._end(f"the stream can't be written: {error!r}")

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


def _rpc_reason(error: grpc.RpcError) -> str:
    code = getattr(error, "code", lambda: None)()
    details = getattr(error, "details", lambda: "")() or ""
    return f"{code.name if code else 'UNKNOWN'}: {details}"
