"""A worker as the small agent behind `snakepit_worker.testing` sees it: its calls, and everything that it says."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from snakepit._ipc.control import SignalWorker, WorkerExited, WorkerStarted
from snakepit._ipc.frames import Payload
from snakepit._ipc.sections import fill
from snakepit._ipc.sockets import encode_batch, mapped, send_call, take_over, worker_frames
from snakepit._ipc.worker import (
    CallFrame,
    CancelCall,
    ChunkFrame,
    Credit,
    Done,
    Failed,
    FromWorker,
    ProgressFrame,
    Ready,
    StateOperation,
    Stop,
    ToolCall,
    ToWorker,
)
from snakepit._names import new_id
from snakepit._values import payloads
from snakepit._values.payload_warnings import warn
from snakepit.author.pending_call import ToolRequest
from snakepit.errors import SnakepitError, Started, ToolError, WorkerLost, from_reason
from snakepit.testing import MemoryState
from snakepit.testing.doubles import ToolDoubles

T = TypeVar("T")
Watch = Callable[[float, str], object]
WAIT_SECONDS = 20.0
KILL_AFTER_SECONDS = 6.0
"""A tool that goes on for so long after its deadline is killed: the default of `drain.killAfterSeconds`."""


class Heard:
    """What the other side has said so far, for tests that wait for events."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.ended = False
        self._changed = threading.Condition()

    def add(self, frame: Any) -> None:
        """The other side has said this."""
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()

    def end(self) -> None:
        """The other side says nothing more."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait(self, kind: type[T], matches: Callable[[T], bool] = lambda frame: True, timeout: float = WAIT_SECONDS) -> T:
        """The first frame of a kind. Raises TimeoutError with everything that came instead."""

        def found() -> T | None:
            return next((each for each in self.frames if isinstance(each, kind) and matches(each)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self.ended, timeout)
            frame = found()
        if frame is None:
            raise TimeoutError(
                f"no {getattr(kind, '__name__', kind)} within {timeout} s; the last of {len(self.frames)}: {self.frames[-3:]!r:.2000}"
            )
        return frame

    def all(self, kind: type[T]) -> list[T]:
        """All frames of a kind that have come until now."""
        with self._changed:
            return [each for each in self.frames if isinstance(each, kind)]


class Agent(Protocol):
    """What of its agent a worker's view needs."""

    heard: Heard
    state: MemoryState
    doubles: ToolDoubles

    def send(self, frame: SignalWorker) -> None: ...


class LocalWorker:
    """The agent's view of one worker. `heard` has its frames; the agent's `state` and `doubles` answer what its tools ask for."""

    def __init__(self, started: WorkerStarted, descriptors: list[int], agent: Agent) -> None:
        self.incarnation = started.incarnation
        self.index = started.index
        self.pid = started.pid
        self.note = started.note
        self.heard = Heard()
        self.inbox, self.inbox_reader, self.outbox = (socket.socket(fileno=each) for each in descriptors)
        self._agent = agent
        self._numbers = itertools.count(1)
        self._sessions: dict[int, str] = {}
        self._watches: dict[int, Watch] = {}
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> Ready:
        """Wait until it is warm. Raises SnakepitError with the reason where it can't serve."""
        frame = self.heard.wait(Ready | Failed)  # type: ignore[arg-type]
        if isinstance(frame, Failed):
            raise SnakepitError(f"{frame.stage}: {frame.type}: {frame.message}", started=Started.NO)
        return frame

    @property
    def state(self) -> MemoryState:
        """What its tools find in `ctx.state`: `value` and `put` are for the test."""
        return self._agent.state

    def begin(
        self, tool: str, arguments: Any = None, *, timeout: float | None = None, on_progress: Watch | None = None, **options: Any
    ) -> int:
        """Put a call into the inbox; its id. `timeout`: seconds, as a caller gives them. Other options: those of `CallFrame`."""
        id = next(self._numbers)
        self._sessions[id] = options.get("session_id", "")
        if on_progress is not None:
            self._watches[id] = on_progress
        if timeout is not None:
            options["deadline"] = time.monotonic() + timeout
            self._after(timeout, lambda: self._interrupt(id))
        encoded = payloads.encode_arguments(arguments) if isinstance(arguments, Mapping) else payloads.encode(arguments or {})
        warn(encoded.warnings)
        frame = CallFrame(id=id, call_id=new_id(), tool=tool, arguments=encoded, **options)
        if not send_call(self.inbox, frame):
            raise BlockingIOError("the inbox is full")
        return id

    def done(self, id: int, timeout: float = WAIT_SECONDS) -> Done:
        """Wait for a call's end. Raises WorkerLost where the worker's end came first."""
        return self._answer(Done, lambda frame: frame.id == id, timeout)

    def _answer(self, kind: type[T], matches: Callable[[T], bool], timeout: float = WAIT_SECONDS) -> T:
        try:
            return self.heard.wait(kind, matches, timeout)
        except TimeoutError as error:
            if not self.heard.ended:
                raise
            how = self.exited()
            ended = f"signal {how.signal}" if how.signal else f"exit code {how.code}"
            raise WorkerLost(f"the worker ended during the call: {ended}", started=Started.MAYBE) from error

    def _interrupt(self, id: int) -> None:
        """As the agent does: first with a word, later by force."""
        self.send(CancelCall(id, "DEADLINE"))
        self._after(KILL_AFTER_SECONDS, lambda: self.signal(signal.SIGKILL) if not self._has_ended(id) else None)

    def _has_ended(self, id: int) -> bool:
        return any(frame.id == id for frame in self.heard.all(Done))

    @staticmethod
    def _after(seconds: float, work: Callable[[], None]) -> None:
        def run() -> None:
            with contextlib.suppress(OSError):  # the worker, or the keeper, has ended meanwhile
                work()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        timer.start()

    def call(self, tool: str, arguments: Any = None, **options: Any) -> Any:
        """The tool's value. Options: session_id, metadata, timeout (seconds), on_progress. Raises ToolError and the table's errors."""
        return outcome(self.done(self.begin(tool, arguments, **options)))

    def stream(self, tool: str, arguments: Any = None, **options: Any) -> Iterator[Any]:
        """The tool's chunks, as they are taken."""
        id = self.begin(tool, arguments, stream=True, **options)
        try:
            for index in itertools.count():
                frame = self._answer(
                    ChunkFrame | Done,  # type: ignore[arg-type]
                    lambda frame, index=index: frame.id == id and (isinstance(frame, Done) or frame.index == index),  # type: ignore[misc]
                )
                if isinstance(frame, Done):
                    outcome(frame)
                    return
                self.send(Credit(id, 1))
                yield _value(frame.payload)
        except GeneratorExit:  # whoever reads a stream may leave it
            self.send(CancelCall(id, "CANCELLED"))
            self.done(id)
            raise

    def send(self, *frames: ToWorker) -> None:
        """Say something about running calls."""
        with self._writing:
            self.outbox.sendall(encode_batch(frames))

    def offer(self, *functions: Callable[..., Any], pool: str = "") -> None:
        """Functions for `ctx.call_tool` to find: in the place of a client's tools or, with `pool`, of another pool's."""
        self._agent.doubles.offer(*functions, pool=pool)

    def stop(self) -> WorkerExited:
        """Stop the worker in good order."""
        self.send(Stop())
        return self.exited()

    def signal(self, number: int, group: bool = True) -> None:
        """Have the keeper send a signal to the worker's group, or to its process alone."""
        self._agent.send(SignalWorker(self.incarnation, number, group))

    def exited(self) -> WorkerExited:
        """Wait for the proof of its death."""
        return self._agent.heard.wait(WorkerExited, lambda frame: frame.incarnation == self.incarnation)

    def close(self) -> None:
        """Close the sockets; the worker has ended."""
        self.outbox.shutdown(socket.SHUT_RDWR)
        self._reader.join(WAIT_SECONDS)
        for each in (self.inbox, self.inbox_reader, self.outbox):
            each.close()

    def _read(self) -> None:
        buffer = worker_frames()
        with contextlib.suppress(OSError):
            while data := self.outbox.recv(1 << 16):
                for frame in buffer.feed(data):
                    self._take(frame)
        self.heard.end()

    def _take(self, frame: FromWorker) -> None:
        if isinstance(frame, Done | ChunkFrame) and frame.sections:
            frame.payload = self._handed_over(frame)
        self.heard.add(frame)
        if isinstance(frame, ProgressFrame) and (watch := self._watches.get(frame.id)) is not None:
            watch(frame.fraction, frame.message)
        elif isinstance(frame, StateOperation):
            self.send(self._agent.state.answer(self._sessions[frame.id], frame))
        elif isinstance(frame, ToolCall):
            request = ToolRequest(frame.name, frame.arguments, frame.pool, frame.deadline or None, frame.stream)
            self._agent.doubles.answer(request, frame.operation_id, self.send)

    def _handed_over(self, frame: Done | ChunkFrame) -> Payload | None:
        """The whole payload; one worker's calls are taken in order here."""
        while frame.payload is not None and (handed := take_over(self.inbox)) is not None:
            id, descriptor = handed
            try:
                if id == frame.id:
                    return fill(frame.payload, mapped(descriptor, frame.sections))
            finally:
                os.close(descriptor)
        return None


def outcome(done: Done) -> Any:
    """What a caller gets. Raises ToolError and the table's errors."""
    if done.tool_error is not None:
        raise ToolError(done.tool_error.type, done.tool_error.message, done.tool_error.traceback)
    if (failure := done.failure) is not None:
        raise from_reason(failure.reason, failure.message, started=Started.of(failure.started), details=failure.details)
    return None if done.payload is None else _value(done.payload)


def _value(payload: Payload) -> Any:
    warn(payload.warnings)
    return payloads.decode(payload)
