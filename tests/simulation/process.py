"""One worker process, simulated: it reads its inbox, runs tools, streams as far as it has credit, calls other tools, and may be killed."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.contents import LARGEST, said
from simulation.tools import CREDIT, MOST_CHUNKS, OFFERED, SECONDS, SILENT_SECONDS, STREAMED

from snakepit._ipc import control, frames
from snakepit._ipc import worker as worker_ipc
from snakepit._ipc.frames import CallFailure, Payload, ToolFailure
from snakepit._ipc.sockets import close_all, seal_memfd
from snakepit._ipc.worker import CallFrame, Done
from snakepit.errors import Started

if TYPE_CHECKING:
    from simulation.account import Attempt, Run
    from simulation.workers import Machine

    from snakepit_agent.workers.channel import OnFrames


@dataclass
class _Yielding:
    """A stream: how many chunks it will have, and how many more may go."""

    call: CallFrame
    left: int
    credit: int = CREDIT
    waits: bool = False


class Process:
    """One worker process, and the channel that the agent has to it: calls wait in `inbox` until one of its slots reads them."""

    def __init__(self, machine: Machine, order: control.StartWorker) -> None:
        self.machine, self.index, self.incarnation = machine, order.index, order.incarnation
        self.chance = machine.chance
        self.pid = len(machine.descriptors) + 1
        self.slots = machine.slots
        self.heard = self.suspect = False
        self.inbox: deque[CallFrame] = deque()
        self.running: dict[int, Run] = {}
        self.alive = True
        self.said: deque[worker_ipc.FromWorker] = deque()
        self.asked: dict[int, int] = {}
        self.called: dict[int, tuple[int, Attempt]] = {}
        self.on_frames: OnFrames | None = None
        self.streams: dict[int, _Yielding] = {}
        # Memfds: of the arguments of calls in the inbox, of results that no frame has spoken of.
        self.arguments: dict[int, int] = {}
        self.handed: dict[int, list[int]] = {}
        self._operations = 0
        self._last = 0.0
        self._reading = False
        machine.processes.append(self)
        machine.descriptors[self.pid] = self

    def attach(self, on_frames: OnFrames) -> Process:
        """The agent has its ends of the sockets: `setup()` begins."""
        self.on_frames = on_frames
        self.machine.loop.call_later(self.chance.uniform(0.005, 0.05), self._ready)
        return self

    def _ready(self) -> None:
        self._say(worker_ipc.Ready(OFFERED, "Simulated.", 0.01))

    # ---- the agent's side of the channel

    def deliver(self, call: CallFrame) -> None:
        self.machine.account.delivered(self, call)
        self.inbox.append(call)
        self._read_soon()

    def deliver_large(self, call: CallFrame, descriptor: int) -> None:
        self.arguments[call.id] = descriptor
        self.deliver(call)

    def control(self, *said: worker_ipc.ToWorker) -> None:
        for frame in said:
            if isinstance(frame, worker_ipc.CancelCall):
                if frame.id in self.running:
                    self.running[frame.id].stopped = True
                self._soon(0.001, self._interrupt, frame)
            elif isinstance(frame, frames.StateAnswer):
                self._soon(0.0005, self._noted, frame)
            elif isinstance(frame, worker_ipc.Credit):
                self._soon(0.0005, self._credited, frame)
            elif isinstance(frame, frames.ToolChunk):
                self._in_order(self._came, frame)
            elif isinstance(frame, frames.ToolAnswer):
                self._in_order(self._answered, frame)
            elif isinstance(frame, worker_ipc.Ping):
                self._soon(0.0005, self._say, worker_ipc.Pong())
            elif isinstance(frame, worker_ipc.Stop):
                self._soon(0.002, self._exit)

    def drain(self) -> None:
        """The process is dead: hand over what it has still said."""
        while self.said:
            self._hear()

    def recall(self, ids: Collection[int] | None = None) -> list[int]:
        taken = [call.id for call in self.inbox if ids is None or call.id in ids]
        self.inbox = deque(call for call in self.inbox if call.id not in taken)
        close_all([self.arguments.pop(id_) for id_ in taken if id_ in self.arguments])
        return taken

    def recall_behind(self, held: int, slots: int) -> list[int]:
        stay = max(0, slots - (held - len(self.inbox)))
        return self.recall({call.id for call in list(self.inbox)[stay:]})

    stacks = None
    """A simulated process has none."""

    def take_over(self, id_: int) -> int:
        handed = self.handed.get(id_)
        return handed.pop(0) if handed else -1

    def ended(self, id_: int) -> None:
        close_all(self.handed.pop(id_, ()))

    def close(self) -> None:
        self.on_frames = None
        self._close_all()

    def _close_all(self) -> None:
        close_all([*self.arguments.values(), *(each for handed in self.handed.values() for each in handed)])
        self.arguments.clear()
        self.handed.clear()

    # ---- the process

    def _soon(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self.machine.loop.call_later(self.chance.random() * seconds, self._do, what, args)

    def _in_order(self, what: Callable[..., None], *args: object) -> None:
        self.machine.loop.call_soon(self._do, what, args)

    def _do(self, what: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.alive:
            what(*args)

    def _say(self, frame: worker_ipc.FromWorker) -> None:
        if self.alive:
            self.said.append(frame)
            self._last = max(self._last + 1e-7, self.machine.loop.time() + self.chance.random() * 0.0002)
            self.machine.loop.call_at(self._last, self._hear)

    def _hear(self) -> None:
        if self.said and self.on_frames is not None:
            self.on_frames(self, [self.said.popleft()])  # type: ignore[arg-type]

    def _read_soon(self) -> None:
        if not self._reading and self.inbox and len(self.running) < self.slots:
            self._reading = True
            # Now and then it has no time on the processor.
            self._soon(0.0001 if self.chance.random() < 0.98 else 0.8, self._read)

    def _read(self) -> None:
        self._reading = False
        while self.inbox and len(self.running) < self.slots:
            self._begin(self.inbox.popleft())

    def _begin(self, call: CallFrame) -> None:
        self.running[call.id] = self.machine.account.begun(self, call, self._arguments_of(call))
        shortest, longest = SECONDS[call.tool]
        seconds = self.chance.uniform(shortest, longest)
        if call.tool == "quick" and self.chance.random() < 0.05:
            seconds += self.chance.uniform(0.001, 0.1)
        if call.tool == "stream":
            self.streams[call.id] = _Yielding(call, self.chance.randint(0, MOST_CHUNKS))
            self._later(seconds, self._yield, call.id)
        elif call.tool == "asking":
            self._later(seconds, self._ask, call)
        elif call.tool == "deadly" and self.chance.random() < 0.5:
            self.machine.loop.call_later(seconds, self.die, signal.SIGSEGV)
        else:
            self._later(seconds, self._finish, call)

    def _arguments_of(self, call: CallFrame) -> bytes:
        if not call.sections:
            return call.arguments.data
        descriptor = self.arguments.pop(call.id)
        try:
            return os.pread(descriptor, LARGEST + 1, 0)
        finally:
            os.close(descriptor)

    def _later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self.machine.loop.call_later(seconds, self._do, what, args)

    def _finish(self, call: CallFrame) -> None:
        if call.id not in self.running:
            return
        if call.tool == "note" and call.session_id and call.id not in self.asked.values():
            self._note(call)
        elif call.tool == "failing":
            self._end(call.id, Done(call.id, tool_error=ToolFailure("ValueError", "no")))
        elif call.tool == "bulky":
            data = said(self.running[call.id].token, size=self.chance.randint(100, LARGEST))
            self._end(call.id, Done(call.id, payload=Payload(b""), sections=self._hand_over(call.id, data)))
        else:
            self._succeed(call.id)

    def _succeed(self, id_: int) -> None:
        self._end(id_, Done(id_, payload=Payload(said(self.running[id_].token))))

    def _hand_over(self, id_: int, data: bytes) -> tuple[int, ...]:
        self.handed.setdefault(id_, []).append(seal_memfd(data))
        return (len(data),)

    # ---- state

    def _note(self, call: CallFrame) -> None:
        self._operations += 1
        self.asked[self._operations] = call.id
        self._say(worker_ipc.StateOperation(self._operations, call.id, "set", "k", Payload(b"%d" % call.session_epoch)))

    def _noted(self, answer: frames.StateAnswer) -> None:
        id_ = self.asked.pop(answer.operation_id, 0)
        if id_ not in self.running:
            return
        if answer.failure is None:
            self._succeed(id_)
        else:
            self._end(id_, Done(id_, failure=CallFailure(answer.failure.reason, answer.failure.message, int(Started.YES))))

    # ---- streams

    def _yield(self, id_: int) -> None:
        stream, run = self.streams.get(id_), self.running.get(id_)
        if stream is None or run is None:
            return
        kind = self.chance.random()
        if not stream.left:
            run.complete = True
            self._end(id_, Done(id_))
        elif kind < 0.02:
            self._end(id_, Done(id_, tool_error=ToolFailure("ValueError", "no more")))
        elif not stream.credit:
            stream.waits = True
        else:
            stream.left -= 1
            stream.credit -= 1
            self._say(self._chunk(id_, run))
            shortest, longest = SECONDS["stream"]
            self._later(SILENT_SECONDS if kind > 0.99 else self.chance.uniform(shortest, longest), self._yield, id_)

    def _chunk(self, id_: int, run: Run) -> worker_ipc.ChunkFrame:
        index, run.chunks = run.chunks, run.chunks + 1
        if self.chance.random() < 0.8:
            return worker_ipc.ChunkFrame(id_, index, Payload(said(run.token, index)))
        data = said(run.token, index, self.chance.randint(100, LARGEST))
        return worker_ipc.ChunkFrame(id_, index, Payload(b""), self._hand_over(id_, data))

    def _credited(self, credit: worker_ipc.Credit) -> None:
        stream = self.streams.get(credit.id)
        if stream is not None:
            stream.credit += credit.chunks
            self.machine.account.credited(self.running[credit.id], stream.credit - CREDIT)
            if stream.waits:
                stream.waits = False
                self._yield(credit.id)

    # ---- calls to other tools

    def _ask(self, call: CallFrame) -> None:
        run = self.running.get(call.id)
        if run is None:
            return
        tool, pool = self.chance.choice(self.machine.asks), self.chance.choice(self.machine.pools)
        timeout = self.chance.choice([0.0, 0.0, 0.05, 1.0, 8.0])
        attempt = self.machine.account.nested(run, tool, pool, timeout)
        self._operations += 1
        self.called[self._operations] = call.id, attempt
        deadline = self.machine.loop.time() + timeout if timeout else 0.0
        arguments = Payload(attempt.arguments)
        self._say(worker_ipc.ToolCall(self._operations, call.id, tool, arguments, pool, deadline, stream=tool in STREAMED))
        if self.chance.random() < 0.1:
            self._later(self.chance.random(), self._drop, self._operations)

    def _came(self, chunk: frames.ToolChunk) -> None:
        _, attempt = self.called.get(chunk.operation_id, (0, None))
        if attempt is not None:
            self.machine.account.chunk(attempt, chunk.payload.data)
            self._soon(0.01, self._say, worker_ipc.ToolTaken(chunk.operation_id, 1))

    def _answered(self, answer: frames.ToolAnswer) -> None:
        id_, attempt = self.called.pop(answer.operation_id, (0, None))
        if attempt is None:
            return
        self.machine.account.nested_answered(attempt, answer)
        if self.chance.random() < 0.3:
            self._soon(0.01, self._ask, self.running[id_].frame)
        else:
            self._succeed(id_)

    def _drop(self, operation: int) -> None:
        """It does not want the answer any more."""
        id_, attempt = self.called.pop(operation, (0, None))
        if attempt is not None:
            self.machine.account.cut_off(attempt)
            self._say(worker_ipc.ToolDropped(operation))
            self._succeed(id_)

    # ---- ends

    def _interrupt(self, cancel: worker_ipc.CancelCall) -> None:
        run = self.running.get(cancel.id)
        if run is not None and run.tool != "stubborn":
            self._end(cancel.id, Done(cancel.id, failure=CallFailure(cancel.reason, "interrupted", int(Started.YES))))

    def _end(self, id_: int, done: Done) -> None:
        run = self.running.pop(id_)
        self.streams.pop(id_, None)
        for operation in [each for each, (asker, _) in self.called.items() if asker == id_]:
            self.machine.account.cut_off(self.called.pop(operation)[1])
            if self.chance.random() < 0.5:
                self._say(worker_ipc.ToolDropped(operation))
        self.machine.account.ended(run)
        done.run_seconds = run.ended - run.began
        self._say(done)
        self._read_soon()

    def _exit(self) -> None:
        self.die(0)

    def die(self, how: int) -> None:
        if self.alive:
            self.alive = False
            self.machine.processes.remove(self)
            for _, attempt in self.called.values():
                self.machine.account.cut_off(attempt)
            for run in self.running.values():
                self.machine.account.ended(run)
            self.running.clear()
            self.called.clear()
            if self.on_frames is None:
                self._close_all()
            self.on_death(how)

    on_death: Callable[[int], None]
