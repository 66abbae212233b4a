"""A session's state, from inside a running tool: `State` blocks, `AsyncState` is awaited; the names are the same.

It asks the call's `Runtime`, and remembers for a moment what it has read.
"""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._values import payloads
from snakepit._values.strings import check
from snakepit.author.pending_call import error_of, of_context
from snakepit.author.runtime import CallInfo, Runtime, check_interrupted, remaining
from snakepit.errors import InvalidArguments, PayloadWarning, SnakepitError, Started, StoreUnavailable

if TYPE_CHECKING:
    # An author's import must be quick and small: asyncio is imported where it is used.
    import asyncio
    from concurrent.futures import Future

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


class Operations:
    """State operations as questions and answers, without waiting: each method gives a future or reads one's answer."""

    def __init__(self, call: CallInfo, runtime: Runtime, cache: StateCache) -> None:
        self._named = bool(call.session_id)
        # The uid where there is one: another session of the same name has values of its own.
        self._session = (call.session_uid or call.session_id, call.session_epoch)
        self._call = call
        self._runtime = runtime
        self._cache = cache

    def seconds(self) -> float:
        """How long an answer is waited for."""
        return ANSWER_SECONDS if (left := remaining(self._call)) is None else left

    def no_answer(self) -> SnakepitError:
        """What to raise when none has come by then. Raises Interrupted where the call is over itself."""
        check_interrupted(self._call, self._runtime)
        return of_context(StoreUnavailable(f"the session store has not answered for {ANSWER_SECONDS:.0f} s", started=Started.MAYBE))

    def ask(self, operation: str, key: str = "", value: Payload | None = None, expected_version: int = -1) -> Future[StateAnswer]:
        """Have the runtime carry out an operation, for a thread that waits. Raises InvalidArguments where the call has no session."""
        if not self._named:
            raise _no_session()
        return self._runtime.state(operation, check("state key", key), value, expected_version)

    def ask_soon(
        self, operation: str, key: str = "", value: Payload | None = None, expected_version: int = -1
    ) -> asyncio.Future[StateAnswer]:
        """As `ask`, for a task of the running loop."""
        if not self._named:
            raise _no_session()
        return self._runtime.state_soon(operation, check("state key", key), value, expected_version)

    def cached(self, key: str) -> StateAnswer | None:
        """What was read a moment ago; None where the store has to be asked."""
        return self._cache.get(self._session, key, time.monotonic())

    def read(self, key: str, answer: StateAnswer) -> tuple[Any, int]:
        """The value and version of an answer, which is remembered. Raises the failure that came instead."""
        _raise_failure(answer)
        self._cache.put(self._session, key, answer, time.monotonic())
        return self.value(answer)

    @staticmethod
    def value(answer: StateAnswer) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        if not answer.found or answer.value is None:
            return None, 0
        return payloads.decode(answer.value), answer.version

    def written(self, key: str, value: Payload | None, answer: StateAnswer) -> StateAnswer:
        """The answer to a write or a delete; what was remembered of the key is no longer. Raises the failure that came instead."""
        self._cache.forget(self._session, key)
        _raise_failure(answer)
        if answer.written and value is not None:
            self._cache.put(self._session, key, StateAnswer(0, found=True, value=value, version=answer.version), time.monotonic())
        return answer


def _raise_failure(answer: StateAnswer) -> None:
    if answer.failure is not None:
        raise error_of(answer.failure)


def _no_session() -> SnakepitError:
    return of_context(InvalidArguments("this call has no session, so it has no state: call the tool through pool.session(...)"))


class State:
    """The session's keys, from inside a blocking tool. Reads may be up to a second old; writes go through."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        value, version = self.get_versioned(key)
        return value if version else default

    def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        known = self._operations.cached(key)
        return self._operations.value(known) if known else self._operations.read(key, self._wait(self._operations.ask("get", key)))

    def set(self, key: str, value: Any) -> int:
        """Write a value and return its version. Raises StateQuota, StaleEpoch, and StoreUnavailable."""
        return self._set(key, value, -1).version

    def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent). Returns False where the version was another."""
        return self._set(key, value, expected_version).written

    def delete(self, key: str) -> bool:
        """Delete the key; True if it was there."""
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
            return answer.result(self._operations.seconds())
        except TimeoutError as error:
            raise self._operations.no_answer() from error


class AsyncState:
    """The session's keys, from inside an async tool. Reads may be up to a second old; writes go through."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

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
        """Write a value and return its version. Raises StateQuota, StaleEpoch, and StoreUnavailable."""
        return (await self._set(key, value, -1)).version

    async def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent). Returns False where the version was another."""
        return (await self._set(key, value, expected_version)).written

    async def delete(self, key: str) -> bool:
        """Delete the key; True if it was there."""
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
            async with asyncio.timeout(self._operations.seconds()):
                return await answer
        except TimeoutError as error:
            raise self._operations.no_answer() from error


def _encoded(value: Any) -> Payload:
    encoded = payloads.encode_inline(value)
    for sentence in encoded.warnings:
        warnings.warn(f"state: {sentence}", PayloadWarning, stacklevel=4)
    return encoded
