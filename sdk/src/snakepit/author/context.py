"""What a running tool may ask for: `Context` blocks, `AsyncContext` is awaited; the names are the same.

It talks to a small `Runtime`, which the worker and the test harness provide; it knows no socket and no process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snakepit._values import payloads
from snakepit._values.strings import readable
from snakepit.author.pending_call import PendingCall, ToolRequest, chunk_of, deadline_of, next_of, value_of, wait_for
from snakepit.author.runtime import Caller, CallInfo, Interrupted, Runtime, check_interrupted, remaining
from snakepit.author.state import AsyncState, State, StateCache

if TYPE_CHECKING:
    # An author's import must be quick and small: asyncio and logging are imported where they are used.
    import logging

__all__ = ["AsyncContext", "AsyncState", "CallInfo", "Caller", "Context", "Interrupted", "Runtime", "State", "StateCache"]


class _CallContext:
    """What both contexts share: everything that never waits."""

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        self._runtime = runtime
        self._call = call
        self._cache = cache

    @property
    def call_id(self) -> str:
        """The call's id, which is the same from the client to the tool."""
        return self._call.call_id

    @property
    def session_id(self) -> str:
        """The id of the call's session; empty where the call belongs to none."""
        return self._call.session_id

    @property
    def session_epoch(self) -> int:
        """A number that grows by one whenever the session moves to another worker."""
        return self._call.session_epoch

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the caller passed along, as names and texts."""
        return self._call.metadata

    @property
    def caller(self) -> Caller:
        """Who calls. Unlike `metadata`, the caller can't make it up."""
        return self._call.caller

    @property
    def deadline(self) -> float | None:
        """When the call ends at the latest, in seconds of time.monotonic(); None where it has no deadline."""
        return self._call.deadline

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the tool."""
        import logging

        return logging.getLogger(f"snakepit.tool.{self._call.tool}")

    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None where the call has no deadline."""
        return remaining(self._call)

    def check(self) -> None:
        """Raises Interrupted when the caller has gone or the deadline has passed. Call it now and then in long loops."""
        check_interrupted(self._call, self._runtime)

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell the caller how far the call is; `fraction` from 0 to 1. It also shows that the call is alive."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction {fraction!r} must be from 0 to 1")
        self._runtime.progress(float(fraction), readable(message))

    def _ask(self, name: str, arguments: Mapping[str, Any] | None, pool: str | None, timeout: float | None, stream: bool) -> PendingCall:
        end = deadline_of(self._call.deadline, timeout)
        return self._runtime.tool(ToolRequest.of(name, arguments, pool, end, stream=stream))


class Context(_CallContext):
    """What a blocking tool may ask for. It is a parameter of the tool: `def tool(self, ..., *, ctx: Context)`."""

    @cached_property
    def state(self) -> State:
        """The session's keys, which outlive the worker. Its methods raise InvalidArguments where the call has no session."""
        return State(self._call, self._runtime, self._cache)

    def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, pool: str | None = None, timeout: float | None = None
    ) -> Any:
        """Call a tool and return its value (a stream's as a list).

        Without `pool`: one that a client offers for this call's session, else for this call's pool, else one of the pool's workers.
        With `pool` ("namespace/name"): one of that pool. It ends with this call's deadline, or after `timeout` seconds.
        Raises ToolError for the tool's exception, and the other SnakepitErrors for a call that failed.
        """
        return wait_for(self._ask(name, arguments, pool, timeout, stream=False), value_of)

    def stream_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, pool: str | None = None, timeout: float | None = None
    ) -> Iterator[Any]:
        """As `call_tool`, for the chunks of a stream one by one. Leaving the loop stops their producer."""
        pending = self._ask(name, arguments, pool, timeout, stream=True)
        try:
            while (chunk := wait_for(pending, chunk_of)) is not None:
                yield payloads.decode(chunk)
        finally:
            pending.close()


class AsyncContext(_CallContext):
    """What an async tool may ask for. It is a parameter of the tool: `async def tool(self, ..., *, ctx: AsyncContext)`."""

    @cached_property
    def state(self) -> AsyncState:
        """The session's keys, which outlive the worker. Its methods raise InvalidArguments where the call has no session."""
        return AsyncState(self._call, self._runtime, self._cache)

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, pool: str | None = None, timeout: float | None = None
    ) -> Any:
        """Call a tool and return its value (a stream's as a list): see `Context.call_tool`."""
        return value_of(await next_of(self._ask(name, arguments, pool, timeout, stream=False)))

    async def stream_tool(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, pool: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """As `call_tool`, for the chunks of a stream one by one. Leaving the loop stops their producer."""
        pending = self._ask(name, arguments, pool, timeout, stream=True)
        try:
            while (chunk := chunk_of(await next_of(pending))) is not None:
                yield payloads.decode(chunk)
        finally:
            pending.close()
