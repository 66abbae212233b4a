"""The far side of an agent's sockets: a keeper and worker processes, simulated. Tools take their time, or misbehave, as their names say."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakepit.errors import Started
from snakepit.local import frames
from snakepit.local.frames import CallFailure, CallFrame, Done, Payload, ToolFailure, ToolInfo

if TYPE_CHECKING:
    from simulation.account import Account, Run

    from snakepit_agent.channel import OnFrames
    from snakepit_agent.keeper import KeeperEvents

SECONDS = {
    "quick": (0.00003, 0.0001),
    "slow": (0.01, 0.15),
    "long": (0.3, 2.0),
    "note": (0.01, 0.1),
    "twice": (0.01, 0.3),
    "failing": (0.0, 0.02),
    "stubborn": (0.5, 4.0),
    "deadly": (0.0, 0.1),
}
"""How long each tool runs. `quick` is not always, `note` writes its session's state, `twice` is idempotent, `stubborn` does not stop when
told to, `deadly` may take its worker along."""


@dataclass(eq=False)
class Machine:
    """What all processes of one capsule share. `descriptors`: of all capsules, what the agent's ends of their sockets lead to."""

    account: Account
    chance: random.Random
    descriptors: dict[int, Process]
    agent: Callable[[], str]
    slots: int = 1

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.processes: list[Process] = []


class Process:
    """One worker process, and the channel that the agent has to it: calls wait in `inbox` until one of its slots reads them."""

    def __init__(self, machine: Machine, order: frames.StartWorker) -> None:
        self.machine, self.index, self.incarnation = machine, order.index, order.incarnation
        self.pid = len(machine.descriptors) + 1
        self.slots = machine.slots
        self.heard = self.suspect = False
        self.inbox: deque[CallFrame] = deque()
        self.running: dict[int, Run] = {}
        self.alive = True
        self.said: deque[frames.FromWorker] = deque()
        self.asked: dict[int, int] = {}
        self.on_frames: OnFrames | None = None
        self._operations = 0
        self._last = 0.0
        self._reading = False
        machine.processes.append(self)
        machine.descriptors[self.pid] = self

    def attach(self, on_frames: OnFrames) -> Process:
        """The agent has its ends of the sockets: `setup()` begins."""
        self.on_frames = on_frames
        self.machine.loop.call_later(self.machine.chance.uniform(0.005, 0.05), self._ready)
        return self

    def _ready(self) -> None:
        tools = [ToolInfo(name, "", "{}", idempotent=name == "twice") for name in SECONDS]
        self._say(frames.Ready(tools, "Simulated.", 0.01))

    # ---- the agent's side of the channel

    def deliver(self, call: CallFrame) -> None:
        self.machine.account.delivered(self, call)
        self.inbox.append(call)
        self._read_soon()

    def control(self, *said: frames.ToWorker) -> None:
        for frame in said:
            if isinstance(frame, frames.CancelCall):
                if frame.id in self.running:
                    self.running[frame.id].stopped = True
                self._soon(0.001, self._interrupt, frame)
            elif isinstance(frame, frames.StateAnswer):
                self._soon(0.0005, self._noted, frame)
            elif isinstance(frame, frames.Ping):
                self._soon(0.0005, self._say, frames.Pong())
            elif isinstance(frame, frames.Stop):
                self._soon(0.002, self._exit)

    control_soon = control

    def drain(self) -> None:
        """The process is dead: hand over what it has still said."""
        while self.said:
            self._hear()

    def recall_some(self, ids: Collection[int]) -> list[int]:
        taken = [call.id for call in self.inbox if call.id in ids]
        self.inbox = deque(call for call in self.inbox if call.id not in ids)
        return taken

    def recall(self) -> list[int]:
        return self.recall_some({call.id for call in self.inbox})

    def recall_one(self, id_: int) -> bool:
        return bool(self.recall_some({id_}))

    def recall_behind(self, held: int, slots: int) -> list[int]:
        stay = max(0, slots - (held - len(self.inbox)))
        return self.recall_some({call.id for call in list(self.inbox)[stay:]})

    stacks = None
    """A simulated process has none."""

    def ended(self, id_: int) -> None:
        """Nothing large is ever handed over here."""

    def close(self) -> None:
        self.on_frames = None

    # ---- the process

    def _soon(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self.machine.loop.call_later(self.machine.chance.random() * seconds, self._do, what, args)

    def _do(self, what: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.alive:
            what(*args)

    def _say(self, frame: frames.FromWorker) -> None:
        if self.alive:
            self.said.append(frame)
            self._last = max(self._last + 1e-7, self.machine.loop.time() + self.machine.chance.random() * 0.0002)
            self.machine.loop.call_at(self._last, self._hear)

    def _hear(self) -> None:
        if self.said and self.on_frames is not None:
            self.on_frames(self, [self.said.popleft()])  # type: ignore[arg-type]

    def _read_soon(self) -> None:
        if not self._reading and self.inbox and len(self.running) < self.slots:
            self._reading = True
            # Now and then it has no time on the processor.
            self._soon(0.0001 if self.machine.chance.random() < 0.98 else 0.8, self._read)

    def _read(self) -> None:
        self._reading = False
        while self.inbox and len(self.running) < self.slots:
            self._begin(self.inbox.popleft())

    def _begin(self, call: CallFrame) -> None:
        self.running[call.id] = self.machine.account.begun(self, call)
        shortest, longest = SECONDS[call.tool]
        seconds = self.machine.chance.uniform(shortest, longest)
        if call.tool == "quick" and self.machine.chance.random() < 0.05:
            seconds += self.machine.chance.uniform(0.001, 0.1)
        if call.tool == "deadly" and self.machine.chance.random() < 0.5:
            self.machine.loop.call_later(seconds, self.die, signal.SIGSEGV)
        else:
            self.machine.loop.call_later(seconds, self._do, self._finish, (call,))

    def _finish(self, call: CallFrame) -> None:
        if call.id not in self.running:
            return
        if call.tool == "note" and call.session_id and call.id not in self.asked.values():
            self._note(call)
        elif call.tool == "failing":
            self._end(call.id, Done(call.id, tool_error=ToolFailure("ValueError", "no")))
        else:
            self._end(call.id, Done(call.id, payload=Payload(self.running[call.id].token)))

    def _note(self, call: CallFrame) -> None:
        self._operations += 1
        self.asked[self._operations] = call.id
        self._say(frames.StateOperation(self._operations, call.id, "set", "k", Payload(b"%d" % call.session_epoch)))

    def _noted(self, answer: frames.StateAnswer) -> None:
        id_ = self.asked.pop(answer.operation_id, 0)
        if id_ not in self.running:
            return
        if answer.failure is None:
            self._end(id_, Done(id_, payload=Payload(self.running[id_].token)))
        else:
            self._end(id_, Done(id_, failure=CallFailure(answer.failure.reason, answer.failure.message, int(Started.YES))))

    def _interrupt(self, cancel: frames.CancelCall) -> None:
        run = self.running.get(cancel.id)
        if run is not None and run.tool != "stubborn":
            self._end(cancel.id, Done(cancel.id, failure=CallFailure(cancel.reason, "interrupted", int(Started.YES))))

    def _end(self, id_: int, done: Done) -> None:
        run = self.running.pop(id_)
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
            for run in self.running.values():
                self.machine.account.ended(run)
            self.running.clear()
            self.on_death(how)

    on_death: Callable[[int], None]


class Keeper:
    """In place of the agent's KeeperServer: the keeper's socket and the keeper behind it."""

    def __init__(self, machine: Machine, events: KeeperEvents) -> None:
        self._machine, self._events = machine, events
        self._loop = machine.loop
        self._here = False
        self._stopped = False
        self._life = 0
        self.gone = asyncio.Event()
        self.gone.set()

    def start(self) -> None:
        self._loop.call_later(0.01, self._come)

    def _come(self) -> None:
        if not self._stopped and not self._here:
            self._here = True
            self._life += 1
            self.gone.clear()
            self._events.keeper_came(frames.KeeperHello(frames.PROTOCOL, 1, "simulated", "3"), [], same_processes=False)

    def send(self, order: frames.FromAgent) -> None:
        if not self._here:
            return
        if isinstance(order, frames.StartWorker):
            self._later(0.01, self._start_worker, order)
        elif isinstance(order, frames.SignalWorker):
            self._later(0.001, self._signal, order)
        elif isinstance(order, frames.Shutdown):
            self._later(0.001, self.dismiss)

    def dismiss(self) -> None:
        """The keeper ends its workers and, while the pod is there, comes anew."""
        if self._here:
            self._leave()
            self._events.keeper_went()
            if not self._stopped:
                self._loop.call_later(0.05, self._come)

    def stop(self) -> None:
        self._stopped = True
        self._leave()

    def _leave(self) -> None:
        self._here = False
        self.gone.set()
        for process in list(self._machine.processes):
            process.on_death = lambda how: None
            process.die(signal.SIGKILL)

    def _later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        life = self._life

        def do() -> None:
            if self._here and self._life == life:
                what(*args)

        self._loop.call_later(self._machine.chance.uniform(seconds / 10, seconds), do)

    def _start_worker(self, order: frames.StartWorker) -> None:
        process = Process(self._machine, order)
        process.on_death = lambda how: self._later(0.002, self._exited, process, how)
        started = frames.WorkerStarted(process.index, process.incarnation, process.pid)
        self._events.keeper_said(started, [process.pid, -1, -1])

    def _exited(self, process: Process, how: int) -> None:
        self._events.keeper_said(frames.WorkerExited(process.index, process.incarnation, 0, int(how)), [])

    def _signal(self, order: frames.SignalWorker) -> None:
        for process in list(self._machine.processes):
            if process.incarnation == order.incarnation and order.signal in (signal.SIGKILL, signal.SIGTERM):
                process.die(order.signal)
