"""A gRPC server of ours, which gives back what a call took whose client has gone.

For each step of a call (a batch: a message is read, an answer is sent) grpcio's asyncio side allocates memory, and gives it back to who
still waits when the step has ended well. Of a call that was cancelled meanwhile it keeps 96 bytes or more for as long as the process
lives (https://github.com/grpc/grpc/issues/43360): whoever reaches a port, and resets streams, would fill the memory. Here each batch is
seen to its end, whether anybody waits or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled, and has no stubs

from snakepit._wire.headers import bound_headers

KNOWN = "1.85."
"""The grpcio of which this holds. With another one nothing is changed, and a test says whether that gives back what it took."""

_execute_batch: Callable[..., Coroutine[Any, Any, None]] = cygrpc.execute_batch
_ONCE = (None,)


def server(**options: Any) -> grpc.aio.Server:
    """As grpc.aio.server, with bounded headers. From then on both hold for all of this process, clients too."""
    bound_headers()
    if grpc.__version__.startswith(KNOWN):
        cygrpc.execute_batch = _to_its_end
    return grpc.aio.server(**options)


def _to_its_end(call: object, operations: tuple[object, ...], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Raises what grpcio does where Core doesn't take the batch."""
    batch = _Batch(loop)
    batch.steps = steps = _execute_batch(call, operations, batch)
    steps.send(None)
    return batch.ended


class _Batch:
    """What grpcio's coroutine takes for the loop and for its future, so that it goes on, and gives back, as soon as Core is through.

    `ended` says how, to whoever waits.
    """

    __slots__ = ("_loop", "ended", "steps")

    steps: Coroutine[Any, Any, None]

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ended = loop.create_future()

    # ---- the loop

    def create_future(self) -> _Batch:
        return self

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        """Core tells any loop of the process, which finds that it isn't the one that was given."""
        if asyncio.get_running_loop() is self._loop:
            callback(*arguments)
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)

    # ---- the future

    def __await__(self) -> Iterator[None]:
        return iter(_ONCE)

    def cancelled(self) -> bool:
        return False

    def set_result(self, result: None) -> None:
        self.set_exception(None)

    def set_exception(self, error: BaseException | None) -> None:
        try:
            self.steps.send(None)
        except StopIteration:
            pass
        except Exception as unread:  # What came can't be parsed.
            error = error or unread
        if not self.ended.done():
            self.ended.set_result(None) if error is None else self.ended.set_exception(error)
