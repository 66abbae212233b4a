"""A session's state, from inside a running tool: `State` blocks, `AsyncState` is awaited; the names are the same.

It asks the call's `Runtime`, and remembers for a moment what it has read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, TypeVar

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._values import payloads
from snakepit._values.payload_warnings import warn
from snakepit._values.strings import check
from snakepit.author.pending_call import error_of, of_context
from snakepit.author.runtime import CallInfo, Runtime, check_interrupted, remaining
from snakepit.errors import InvalidArguments, Started, StoreUnavailable

T = TypeVar("T")

ANSWER_SECONDS = 30.0
"""How long a state operation of a call without a deadline waits for its answer."""

CACHE_SECONDS = 1.0
"""A write elsewhere is seen at the latest after this."""

CACHE_KEYS = 1024


class StateCache:
    """What a worker last saw of its sessions' keys, for `CACHE_SECONDS`; the least recently used go first. `now` is monotonic."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, int, str], tuple[float, StateAnswer]] = OrderedDict()

    def get(self, session: tuple[str, int], key: str, now: float) -> StateAnswer | None:
        """What was last seen of the key; None where nothing was, or it was too long ago."""
        entry = self._entries.get((*session, key))
        return entry[1] if entry is not None and now < entry[0] else None

    def put(self, session: tuple[str, int], key: str, answer: StateAnswer, now: float) -> None:
        """Remember what the store said."""
        self._entries[(*session, key)] = (now + CACHE_SECONDS, answer)
        self._entries.move_to_end((*session, key))
        if len(self._entries) > CACHE_KEYS:
            self._entries.popitem(last=False)

    def forget(self, session: tuple[str, int], key: str) -> None:
        """Remember nothing of the key: it is being written."""
        self._entries.pop((*session, key), None)


class AsyncState:
    """The session's keys, from inside an async tool. Reads may be up to a second old; writes go through.

    Every method raises InvalidArguments where the call has no session, and StoreUnavailable where no answer comes.
    """

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        # The uid where there is one: another session of the same name has values of its own.
        self._session = (call.session_uid or call.session_id, call.session_epoch)
        self._call = call
        self._runtime = runtime
        self._cache = cache

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        value, version = await self.get_versioned(key)
        return value if version else default

    async def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        answer = self._cache.get(self._session, key, time.monotonic())
        if answer is None:
            answer = await self._ask("get", key)
            self._cache.put(self._session, key, answer, time.monotonic())
        if not answer.found or answer.value is None:
            return None, 0
        return payloads.decode(answer.value), answer.version

    async def set(self, key: str, value: Any) -> int:
        """Write a value and return its version. Raises StateQuota, CallerLimit, StaleEpoch, and StoreUnavailable."""
        return (await self._write("set", key, value)).version

    async def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent). Returns False where the version was another."""
        return (await self._write("set", key, value, expected_version)).written

    async def delete(self, key: str) -> bool:
        """Delete the key; True if it was there."""
        return (await self._write("delete", key)).found

    async def keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted((await self._ask("keys")).keys)

    async def _write(self, operation: str, key: str, value: Any = None, expected_version: int = -1) -> StateAnswer:
        encoded = payloads.encode_inline(value) if operation == "set" else None
        if encoded is not None and encoded.warnings:
            warn(f"state: {sentence}" for sentence in encoded.warnings)
        try:
            answer = await self._ask(operation, key, encoded, expected_version)
        finally:
            self._cache.forget(self._session, key)
        if answer.written and encoded is not None:
            self._cache.put(self._session, key, StateAnswer(0, found=True, value=encoded, version=answer.version), time.monotonic())
        return answer

    async def _ask(self, operation: str, key: str = "", value: Payload | None = None, expected_version: int = -1) -> StateAnswer:
        """The store's answer. Raises the failure that came instead, and Interrupted where the call itself is over."""
        if not self._call.session_id:
            raise of_context(InvalidArguments("this call has no session, so it has no state: call the tool through pool.session(...)"))
        left = remaining(self._call)
        try:
            seconds = ANSWER_SECONDS if left is None else left
            answer = await self._answer(seconds, operation, check("state key", key), value, expected_version)
        except TimeoutError as error:
            check_interrupted(self._call, self._runtime)
            late = StoreUnavailable(f"the session store has not answered for {ANSWER_SECONDS:.0f} s", started=Started.MAYBE)
            raise of_context(late) from error
        if answer.failure is not None:
            raise error_of(answer.failure)
        return answer

    async def _answer(self, seconds: float, *operation: Any) -> StateAnswer:
        import asyncio  # An author's import must be quick and small.

        async with asyncio.timeout(seconds):
            return await self._runtime.state_soon(*operation)


class _Blocking(AsyncState):
    async def _answer(self, seconds: float, *operation: Any) -> StateAnswer:
        return self._runtime.state(*operation).result(seconds)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that blocks where others wait."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")


class State:
    """The session's keys, from inside a blocking tool: as `AsyncState`, without `await`."""

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        self._behind = _Blocking(call, runtime, cache)

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        return _run(self._behind.get(key, default))

    def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        return _run(self._behind.get_versioned(key))

    def set(self, key: str, value: Any) -> int:
        """Write a value and return its version. Raises StateQuota, CallerLimit, StaleEpoch, and StoreUnavailable."""
        return _run(self._behind.set(key, value))

    def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent). Returns False where the version was another."""
        return _run(self._behind.compare_and_set(key, value, expected_version))

    def delete(self, key: str) -> bool:
        """Delete the key; True if it was there."""
        return _run(self._behind.delete(key))

    def keys(self) -> list[str]:
        """All keys, sorted."""
        return _run(self._behind.keys())
