"""Run an adapter in a test, in this process: the same names, schemas, argument checks and payloads as in a worker.

    with snakepit.testing.start(Digits) as digits:
        assert digits.call("classify", {"image": pixels}) == 7
        assert list(digits.stream("count", {"to": 3})) == [0, 1, 2]

`snakepit_worker.testing` runs it in a real worker process.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from snakepit._ipc.frames import Payload, StateAnswer, ToolInfo
from snakepit._ipc.worker import StateOperation
from snakepit._names import nearest, new_id
from snakepit._values import payloads
from snakepit._values.payload_warnings import warn
from snakepit.author import tracebacks
from snakepit.author.adapter import Adapter
from snakepit.author.context import AsyncContext, CallInfo, Context, Interrupted, StateCache
from snakepit.author.loading import load
from snakepit.author.pending_call import PendingCall, ToolRequest
from snakepit.author.signatures import context_of_hook
from snakepit.author.tools import Tool, discover
from snakepit.errors import Cancelled, DeadlineExceeded, SnakepitError, Started, ToolError, ToolNotFound
from snakepit.testing.doubles import ToolDoubles, values_of

Watch = Callable[[float, str], object]
_END = object()


class MemoryState:
    """The session store of a test: `answer` carries out one operation."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], tuple[Payload, int]] = {}

    def answer(self, session_id: str, asked: StateOperation) -> StateAnswer:
        """Carry out one operation on a session's keys, as the store would."""
        where = (session_id, asked.key)
        value, version = self._values.get(where, (None, 0))
        answer = StateAnswer(asked.operation_id, found=version > 0, value=value, version=version)
        if asked.operation == "keys":
            answer.keys = [key for session, key in self._values if session == session_id]
        elif asked.operation == "delete":
            answer.written = self._values.pop(where, None) is not None
        elif asked.operation == "set" and asked.value is not None and asked.expected_version in (-1, version):
            self._values[where] = (asked.value, version + 1)
            answer.version, answer.written = version + 1, True
        return answer

    def value(self, session_id: str, key: str) -> Any:
        """The value of a key, for a test to look at; None where there is none."""
        stored = self._values.get((session_id, key))
        return payloads.decode(stored[0]) if stored else None

    def put(self, session_id: str, key: str, value: Any) -> None:
        """Write a value, as a test prepares it."""
        version = self._values[session_id, key][1] if (session_id, key) in self._values else 0
        self._values[session_id, key] = (payloads.encode_inline(value), version + 1)


class Call:
    """One call of the harness, and the runtime of its context. `cancel` may be called from the tool or another thread."""

    def __init__(self, session_id: str, state: MemoryState, doubles: ToolDoubles | None = None, watch: Watch | None = None) -> None:
        self.progressed: list[tuple[float, str]] = []
        self._watch = watch
        self._session_id = session_id
        self._state = state
        self._doubles = doubles or ToolDoubles()
        self._reason = ""

    def cancel(self) -> None:
        """Interrupt the call, as if its caller had gone."""
        self._reason = "CANCELLED"

    def interruption(self) -> str:
        """CANCELLED once the call was cancelled, else nothing."""
        return self._reason

    def progress(self, fraction: float, message: str) -> None:
        """Note it, and tell whoever watches the call."""
        self.progressed.append((fraction, message))
        if self._watch is not None:
            self._watch(fraction, message)

    def state(self, operation: str, key: str, value: Payload | None, expected_version: int) -> Future[StateAnswer]:
        """The answer of the test's own store, at once."""
        answer: Future[StateAnswer] = Future()
        asked = StateOperation(0, 0, operation, key, value, expected_version)
        answer.set_result(self._state.answer(self._session_id, asked))
        return answer

    def state_soon(self, operation: str, key: str, value: Payload | None, expected_version: int) -> asyncio.Future[StateAnswer]:
        """As `state`, for a task of the running loop."""
        return asyncio.wrap_future(self.state(operation, key, value, expected_version))

    def tool(self, request: ToolRequest) -> PendingCall:
        """A call of one of the functions that the test offers."""
        return self._doubles.pending_call(request)


class _Run(NamedTuple):
    """A call that is to be run. `deadline`: seconds of time.monotonic(); None: none."""

    tool: Tool
    start: Callable[[], Any]
    deadline: float | None


class Harness:
    """A living adapter; see `start`. `calls` has every call made, for its `progressed`; `doubles` what `ctx.call_tool` finds."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.state = MemoryState()
        self.doubles = ToolDoubles()
        self.calls: list[Call] = []
        self._sessions: set[str] = set()
        self._tools = discover(adapter)
        self._loop = asyncio.new_event_loop()
        try:
            self._hook(adapter.setup)
        except BaseException:
            self._loop.close()
            raise

    @property
    def tools(self) -> Mapping[str, ToolInfo]:
        """The adapter's tools by name, as the catalogue would show them."""
        return {name: tool.info for name, tool in self._tools.items()}

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The tool's value as a caller would get it. Options: session_id, metadata, timeout (seconds), on_progress(fraction, message).

        An async tool is cancelled at its deadline; a blocking one is told by `ctx.check()`, and its result comes too late.
        Raises ToolError, InvalidArguments, ToolNotFound, Cancelled, DeadlineExceeded.
        """
        run = self._begin(name, arguments, **options)
        return list(self._chunks(run)) if run.tool.streaming else self._value(run)

    def stream(self, name: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Any]:
        """The chunks as a caller would get them; a tool that doesn't stream gives one."""
        run = self._begin(name, arguments, **options)
        if run.tool.streaming:
            yield from self._chunks(run)
        else:
            yield self._value(run)

    def offer(self, *functions: Callable[..., Any], pool: str = "") -> None:
        """Functions for `ctx.call_tool` to find: in the place of a client's tools or, with `pool`, of another pool's."""
        self.doubles.offer(*functions, pool=pool)

    def end_session(self, session_id: str) -> None:
        """Run what a worker runs when the session was deleted."""
        if session_id in self._sessions:
            self._sessions.remove(session_id)
            self._hook(self.adapter.on_session_end, session_id)

    def close(self) -> None:
        """Run the hooks of a worker that stops."""
        self._hook(self.adapter.on_drain)
        self._hook(self.adapter.teardown)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        session_id: str = "",
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_progress: Watch | None = None,
    ) -> _Run:
        tool = self._tools.get(name)
        if tool is None:
            raise ToolNotFound(f"no tool is named {name!r}", details={"nearest": ", ".join(nearest(name, self._tools))})
        encoded = payloads.encode_arguments(arguments or {})
        warn(encoded.warnings)
        values = tool.decode(encoded)
        call = Call(session_id, self.state, self.doubles, on_progress)
        self.calls.append(call)
        timeout = timeout or tool.info.timeout_seconds or None
        deadline = None if timeout is None else time.monotonic() + timeout
        info = CallInfo(new_id(), name, session_id, 1 if session_id else 0, dict(metadata or {}), deadline)
        if session_id and session_id not in self._sessions:
            hook = self.adapter.on_session_start
            taken = context_of_hook(hook)
            self._hook(hook, session_id if taken is None else taken(info, call, StateCache()))
            self._sessions.add(session_id)
        if tool.signature.context:
            kind = AsyncContext if tool.signature.async_context else Context
            values[tool.signature.context] = kind(info, call, StateCache())
        return _Run(tool, lambda: tool.function(**values), deadline)

    def _value(self, run: _Run) -> Any:
        return _round_trip(self._outcome(run, lambda: self._wait(run.start(), run.deadline)))

    def _chunks(self, run: _Run) -> Iterator[Any]:
        """However the reading ends, the producer's `finally` blocks run."""
        given = self._outcome(run, lambda: self._wait(run.start(), run.deadline))
        given = given if isinstance(given, AsyncIterator) else iter(given)
        with contextlib.closing(values_of(given, lambda step: self._wait(step, run.deadline), self._wait)) as values:
            while (value := self._outcome(run, lambda: next(values, _END))) is not _END:
                yield _round_trip(value)

    def _outcome(self, run: _Run, work: Callable[[], Any]) -> Any:
        try:
            result = work()
            if run.deadline is not None and run.deadline <= time.monotonic():
                raise Interrupted("DEADLINE")
        except Interrupted as error:
            kind = DeadlineExceeded if error.reason == "DEADLINE" else Cancelled
            raise kind(str(error), started=Started.YES) from error
        except Exception as error:
            if isinstance(error, SnakepitError) and error.of_context:
                error.started = Started.YES
                raise
            raise ToolError(type(error).__name__, str(error), tracebacks.text(error, tracebacks.machinery())) from error
        return result

    def _wait(self, result: Any, deadline: float | None = None) -> Any:
        """The value of what may be a coroutine. In a test that runs in a loop itself, in a thread beside it: a thread has one loop."""
        if not inspect.iscoroutine(result):
            return result
        work = _by(result, deadline)
        if asyncio._get_running_loop() is None:
            return self._loop.run_until_complete(work)
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(self._loop.run_until_complete, work).result()

    def _hook(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._wait(function(*arguments))


def start(adapter: type[Adapter] | Adapter | str) -> Harness:
    """Make the adapter (a class, an instance, or `package.module:Class`), run its `setup()`. Raises AdapterError, or what setup raises."""
    if isinstance(adapter, str):
        return Harness(load(adapter)())
    return Harness(adapter if isinstance(adapter, Adapter) else adapter())


def _round_trip(value: Any) -> Any:
    encoded = payloads.encode(value)
    warn(encoded.warnings)
    return payloads.decode(encoded)


async def _by(work: Coroutine[Any, Any, Any], deadline: float | None) -> Any:
    """`work`, cancelled at the deadline."""
    try:
        async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()) as limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise Interrupted("DEADLINE") from error
        raise
