"""A tool that calls a tool: what it asks for, and the call itself until its answer is here, as its asker sees it.

It knows neither sockets nor processes: whoever runs the call feeds it, from any thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from snakepit._ipc.frames import CallFailure, Payload, ToolAnswer, ToolChunk
from snakepit._names import check_tool, nearest, parse_pool, pool_name
from snakepit._values import payloads
from snakepit.errors import DeadlineExceeded, InvalidArguments, SnakepitError, Started, ToolError, from_reason

if TYPE_CHECKING:
    from concurrent.futures import Future

ANSWER_GRACE_SECONDS = 1.0
"""The control plane knows best how a call met its deadline; it is given this much longer to say so."""

MOST_TIMEOUT_SECONDS = 365 * 86400.0
"""gRPC, and timers, take an infinite one, or one of some centuries, to have passed already, or not at all."""

Part = ToolChunk | ToolAnswer
T = TypeVar("T")


class ToolRequest(msgspec.Struct, frozen=True):
    """`pool` empty: the caller's own. `deadline`: seconds of time.monotonic(); None: none."""

    name: str
    arguments: Payload
    pool: str
    deadline: float | None
    stream: bool

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any] | None, pool: str | None, deadline: float | None, *, stream: bool) -> ToolRequest:
        """Raises InvalidArguments for what can't be a call."""
        full = pool_name(*parse_pool(pool)) if pool else ""
        return cls(check_tool(name), payloads.encode_arguments({} if arguments is None else arguments), full, deadline, stream)


def deadline_of(deadline: float | None, timeout: float | None) -> float | None:
    """The earlier of a call's own deadline (of time.monotonic()) and `timeout` seconds from now. Raises InvalidArguments."""
    if timeout is None:
        return deadline
    end = time.monotonic() + seconds(timeout, "the call's own deadline")
    return end if deadline is None else min(end, deadline)


def seconds(timeout: float, otherwise: str) -> float:
    """A timeout that can be counted. `otherwise`: what None stands for. Raises InvalidArguments."""
    if (type(timeout) is float or hasattr(timeout, "__float__")) and timeout > 0:
        counted = float(timeout)
        return counted if counted < MOST_TIMEOUT_SECONDS else MOST_TIMEOUT_SECONDS
    raise InvalidArguments(f"timeout {timeout!r} must be a positive number of seconds, or None for {otherwise}")


def misplaced(method: str, tool: str, names: Collection[str], options: Collection[str]) -> TypeError:
    """Of keywords that a call doesn't have: most often arguments of the tool."""
    name = next(iter(names))
    meant = nearest(name, options)
    if meant:
        return TypeError(f"{method}() has no option {name!r}: did you mean {meant[0]!r}?")
    shown = ", ".join(f"{each!r}: ..." for each in names)
    return TypeError(f"{method}() has no option {name!r}: the tool's arguments are one mapping, {method}({tool!r}, {{{shown}}})")


class PendingCall:
    """The asker's end of one call: `add` is for the runtime, the rest for the asker.

    `taken` is told of each chunk that the asker took, `dropped` when it stops listening before the answer.
    """

    def __init__(self, request: ToolRequest, taken: Callable[[], None], dropped: Callable[[], None]) -> None:
        self.request = request
        self._taken = taken
        self._dropped = dropped
        self._parts: deque[Part] = deque()
        self._waiting: Future[Part] | None = None
        self._ended = False
        import threading

        self._lock = threading.Lock()

    def add(self, part: Part) -> None:
        """Something came back; nothing comes after a ToolAnswer."""
        with self._lock:
            self._ended = self._ended or isinstance(part, ToolAnswer)
            waiting, self._waiting = self._waiting, None
            if waiting is None or not waiting.set_running_or_notify_cancel():
                self._parts.append(part)
                return
        waiting.set_result(part)

    def next(self) -> Future[Part]:
        """The next chunk, or the answer. One at a time."""
        from concurrent.futures import Future

        future: Future[Part] = Future()
        with self._lock:
            if not self._parts:
                self._waiting = future
                return future
            part = self._parts.popleft()
        future.set_result(part)
        return future

    def took(self) -> None:
        """The asker has taken a chunk: the producer may send another."""
        self._taken()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._dropped()

    def seconds(self) -> float | None:
        """How long to wait for the next part; None: as long as it takes."""
        deadline = self.request.deadline
        return None if deadline is None else max(0.0, deadline - time.monotonic()) + ANSWER_GRACE_SECONDS

    def too_late(self) -> SnakepitError:
        """What to raise when the deadline has passed without an answer."""
        return of_context(DeadlineExceeded(f"the deadline passed before tool {self.request.name!r} answered", started=Started.MAYBE))


def wait_for(pending: PendingCall, read: Callable[[Part], T]) -> T:
    """Block for the next part. However the wait ends without one, the call is given up."""
    part = None
    try:
        part = pending.next().result(pending.seconds())
    except TimeoutError as error:
        raise pending.too_late() from error
    finally:
        _settle(pending, part)
    return read(part)


async def next_of(pending: PendingCall) -> Part:
    """As `wait_for`, without blocking."""
    import asyncio

    part = None
    try:
        async with asyncio.timeout(pending.seconds()):
            part = await asyncio.wrap_future(pending.next())
    except TimeoutError as error:
        raise pending.too_late() from error
    finally:
        _settle(pending, part)
    return part


def _settle(pending: PendingCall, part: Part | None) -> None:
    if part is None:
        pending.close()
    elif isinstance(part, ToolChunk):
        pending.took()


def value_of(part: Part) -> Any:
    """The value of an answer. Raises ToolError, and the table's errors."""
    if isinstance(part, ToolChunk):
        raise SnakepitError("a chunk came where one value was asked for: the other end is of another version")
    _raise_failure(part)
    return None if part.payload is None else payloads.decode(part.payload)


def chunk_of(part: Part) -> Payload | None:
    """The next piece of a stream; None after the last. Raises as `value_of`."""
    if isinstance(part, ToolChunk):
        return part.payload
    _raise_failure(part)
    return None


def _raise_failure(answer: ToolAnswer) -> None:
    if (raised := answer.tool_error) is not None:
        raise ToolError(raised.type, raised.message, raised.traceback)
    if answer.failure is not None:
        raise error_of(answer.failure)


def error_of(failure: CallFailure) -> SnakepitError:
    """A failure that came over a socket, as what a tool's context raises."""
    return of_context(from_reason(failure.reason, failure.message, started=Started.of(failure.started), details=failure.details))


def of_context(error: SnakepitError) -> SnakepitError:
    """The same error, marked as one that a tool's context raises and not its author."""
    error.of_context = True
    return error
