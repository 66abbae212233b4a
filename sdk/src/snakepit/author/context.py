"""What a running tool may ask for: `Context` blocks, `AsyncContext` is awaited; the names are the same.

It talks to a small `Runtime`, which the worker and the test harness provide; it knows no socket and no process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._values import payloads
from snakepit._values.strings import check, readable
from snakepit.author.pending_call import PendingCall, ToolRequest, chunk_of, deadline_of, next_of, value_of, wait_for
from snakepit.author.runtime import CallInfo, Interrupted, Runtime
from snakepit.author.state_cache import StateCache
from snakepit.errors import InvalidArguments, PayloadWarning, SnakepitError, Started, StoreUnavailable, from_reason

if TYPE_CHECKING:
    # An author's import must be quick and small: asyncio and logging are imported where they are used.
    import asyncio
    import logging
    from concurrent.futures import Future

__all__ = ["AsyncContext", "AsyncState", "CallInfo", "Context", "Interrupted", "Runtime", "State", "StateCache"]

ANSWER_SECONDS = 30.0
"""How long a state operation of a call without a deadline waits for its answer."""


class _CallContext:
    """What both contexts share: everything that never waits."""

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        self._runtime = runtime
        self._call = call
        self._operations = _Operations(call, runtime, cache)

    @property
    def call_id(self) -> str:
        """The same from the client to the tool."""
        return self._call.call_id

    @property
    def session_id(self) -> str:
        """Empty: the call belongs to no session."""
        return self._call.session_id

    @property
    def session_epoch(self) -> int:
        """Grows by one whenever the session moves to another worker."""
        return self._call.session_epoch

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the caller passed along."""
        return self._call.metadata

    @property
    def deadline(self) -> float | None:
        """Seconds of time.monotonic(); None: no deadline."""
        return self._call.deadline

    @property
    def logger(self) -> logging.Logger:
        """A logger named after the tool."""
        import logging

        return logging.getLogger(f"snakepit.tool.{self._call.tool}")

    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None: no deadline."""
        return None if self._call.deadline is None else max(0.0, self._call.deadline - time.monotonic())

    def check(self) -> None:
        """Call it now and then in long loops: raises Interrupted when the caller has gone or the deadline has passed."""
        reason = self._runtime.interruption() or ("DEADLINE" if self.remaining() == 0.0 else "")
        if reason:
            raise Interrupted(reason)

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell the caller how far the call is; `fraction` from 0 to 1. It also shows that the call is alive."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction {fraction!r} must be from 0 to 1")
        self._runtime.progress(float(fraction), readable(message))

    def _timeout(self) -> float:
        remaining = self.remaining()
        return ANSWER_SECONDS if remaining is None else remaining

    def _ask(self, name: str, arguments: Mapping[str, Any] | None, pool: str | None, timeout: float | None, stream: bool) -> PendingCall:
        end = deadline_of(self._call.deadline, timeout)
        return self._runtime.tool(ToolRequest.of(name, arguments, pool, end, stream=stream))


class _Operations:
    """State operations as questions and answers, without waiting: each method gives a future or reads one's answer."""

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        self._named = bool(call.session_id)
        # The uid where there is one: another session of the same name has values of its own.
        self._session = (call.session_uid or call.session_id, call.session_epoch)
        self._runtime = runtime
        self._cache = cache

    def ask(self, operation: str, key: str = "", value: Payload | None = None, expected_version: int = -1) -> Future[StateAnswer]:
        if not self._named:
            raise _no_session()
        return self._runtime.state(operation, check("state key", key), value, expected_version)

    def ask_soon(
        self, operation: str, key: str = "", value: Payload | None = None, expected_version: int = -1
    ) -> asyncio.Future[StateAnswer]:
        if not self._named:
            raise _no_session()
        return self._runtime.state_soon(operation, check("state key", key), value, expected_version)

    def cached(self, key: str) -> StateAnswer | None:
        return self._cache.get(self._session, key, time.monotonic())

    def read(self, key: str, answer: StateAnswer) -> tuple[Any, int]:
        _raise_failure(answer)
        self._cache.put(self._session, key, answer, time.monotonic())
        return self.value(answer)

    @staticmethod
    def value(answer: StateAnswer) -> tuple[Any, int]:
        if not answer.found or answer.value is None:
            return None, 0
        return payloads.decode(answer.value), answer.version

    def written(self, key: str, value: Payload | None, answer: StateAnswer) -> StateAnswer:
        self._cache.forget(self._session, key)
        _raise_failure(answer)
        if answer.written and value is not None:
            self._cache.put(self._session, key, StateAnswer(0, found=True, value=value, version=answer.version), time.monotonic())
        return answer


def _raise_failure(answer: StateAnswer) -> None:
    if (failure := answer.failure) is not None:
        raise _ours(from_reason(failure.reason, failure.message, started=Started.of(failure.started), details=failure.details))


def _no_session() -> SnakepitError:
    return _ours(InvalidArguments("this call has no session, so it has no state: call the tool through pool.session(...)"))


def _ours(error: SnakepitError) -> SnakepitError:
    error.of_context = True
    return error


class State:
    """The session's keys, from inside a blocking tool. Reads may be up to a second old; writes go through."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._operations = context._operations

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        value, version = self.get_versioned(key)
        return value if version else default

    def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        known = self._operations.cached(key)
        return self._operations.value(known) if known else self._operations.read(key, self._wait(self._operations.ask("get", key)))

    def set(self, key: str, value: Any) -> int:
        """Write, and return the new version."""
        return self._set(key, value, -1).version

    def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent); False: it was another."""
        return self._set(key, value, expected_version).written

    def delete(self, key: str) -> bool:
        """True if the key was there."""
        return self._operations.written(key, None, self._wait(self._operations.ask("delete", key))).found

    def keys(self) -> list[str]:
        """All keys, sorted."""
        answer = self._wait(self._operations.ask("keys"))
        _raise_failure(answer)
        return sorted(answer.keys)

    def _set(self, key: str, value: Any, expected: int) -> StateAnswer:
        encoded = _encoded(value)
        return self._operations.written(key, encoded, self._wait(self._operations.ask("set", key, encoded, expected)))

    def _wait(self, answer: Future[StateAnswer]) -> StateAnswer:
        try:
            return answer.result(self._context._timeout())
        except TimeoutError as error:
            self._context.check()
            raise _ours(_no_answer()) from error


class AsyncState:
    """The session's keys, from inside an async tool. Reads may be up to a second old; writes go through."""

    def __init__(self, context: AsyncContext) -> None:
        self._context = context
        self._operations = context._operations

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        value, version = await self.get_versioned(key)
        return value if version else default

    async def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        known = self._operations.cached(key)
        if known:
            return self._operations.value(known)
        return self._operations.read(key, await self._wait(self._operations.ask_soon("get", key)))

    async def set(self, key: str, value: Any) -> int:
        """Write, and return the new version."""
        return (await self._set(key, value, -1)).version

    async def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent); False: it was another."""
        return (await self._set(key, value, expected_version)).written

    async def delete(self, key: str) -> bool:
        """True if the key was there."""
        return self._operations.written(key, None, await self._wait(self._operations.ask_soon("delete", key))).found

    async def keys(self) -> list[str]:
        """All keys, sorted."""
        answer = await self._wait(self._operations.ask_soon("keys"))
        _raise_failure(answer)
        return sorted(answer.keys)

    async def _set(self, key: str, value: Any, expected: int) -> StateAnswer:
        encoded = _encoded(value)
        return self._operations.written(key, encoded, await self._wait(self._operations.ask_soon("set", key, encoded, expected)))

    async def _wait(self, answer: asyncio.Future[StateAnswer]) -> StateAnswer:
        import asyncio

        try:
            async with asyncio.timeout(self._context._timeout()):
                return await answer
        except TimeoutError as error:
            self._context.check()
            raise _ours(_no_answer()) from error


def _encoded(value: Any) -> Payload:
    encoded = payloads.encode_inline(value)
    for sentence in encoded.warnings:
        warnings.warn(f"state: {sentence}", PayloadWarning, stacklevel=4)
    return encoded


def _no_answer() -> StoreUnavailable:
    return StoreUnavailable(f"the session store has not answered for {ANSWER_SECONDS:.0f} s", started=Started.MAYBE)


class Context(_CallContext):
    """For blocking tools: `def tool(self, ..., *, ctx: Context)`."""

    @property
    def state(self) -> State:
        """The session's durable keys."""
        return State(self)

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
    """For async tools: `async def tool(self, ..., *, ctx: AsyncContext)`."""

    @property
    def state(self) -> AsyncState:
        """The session's durable keys."""
        return AsyncState(self)

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
