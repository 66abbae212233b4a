"""The keeper's word on the workers: which processes there are, how each ended, and what that means for the capsule.

A death is proven by the keeper's wait status, or by the keeper's own end, and by nothing else.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from typing import Protocol

from snakepit._ipc import control
from snakepit._ipc import worker as worker_ipc
from snakepit._ipc.sockets import close_all
from snakepit_agent.model import exits
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_agent.settings import Settings
from snakepit_agent.telemetry import Telemetry
from snakepit_agent.workers.channel import WorkerChannel
from snakepit_agent.workers.keeper import KeeperServer
from snakepit_agent.workers.log_lines import LogLines
from snakepit_agent.workers.oom import OomCounter
from snakepit_agent.workers.supervisor import Supervisor

SHUT_SECONDS = 3.0
"""So long after its channel was shut, a worker that is not known to be dead is killed for it."""

log = logging.getLogger(__name__)


class WorkerEvents(Protocol):
    """What the owner hears. A worker's death comes before its channel is closed."""

    def worker_said(self, incarnation: str, said: Sequence[worker_ipc.FromWorker]) -> None: ...
    def worker_died(self, incarnation: str, exit_: Exit) -> None: ...
    def call_unwritten(self, id_: int, why: str) -> None: ...
    def workers_changed(self) -> None: ...
    def workers_drained(self) -> None: ...


class Workers:
    """All workers of one capsule, and the keeper that makes them."""

    def __init__(self, settings: Settings, ledger: Ledger, events: WorkerEvents, telemetry: Telemetry) -> None:
        self.keeper = KeeperServer(settings.run_dir, self)
        self.supervisor = Supervisor(settings, ledger, self.keeper.send, events.workers_changed, self._drained, telemetry)
        self.lifecycle = self.supervisor.lifecycle
        self.processes = self.supervisor.processes
        self.channels = self.processes.channels
        self._events = events
        self._oom: OomCounter | None = None
        self.log_lines = LogLines()
        self._drained_by_keeper = False
        self._keeper_asked = False
        self._ends = False
        self._shut: dict[str, float] = {}

    def stop(self) -> None:
        """Close every socket: a keeper that is still there ends its workers."""
        self.keeper.stop()
        for incarnation in list(self.channels):
            self.channels.pop(incarnation).close()
        self._forget_memory()
        self.log_lines.close()

    # ---- the capsule's end

    def drain(self, now: float) -> None:
        """The whole capsule: finish what runs, then stop. The keeper stays: a container that ended by itself would be started again."""
        self._drained_by_keeper = False
        self.supervisor.drain(now)

    def end(self, now: float) -> None:
        """The pod, or its container, is being stopped: drain, and end the keeper then."""
        self.drain(now)
        self._ends = True
        self._end_keeper()

    def hurry(self, now: float) -> None:
        """Whoever wants the end asks again: what still runs gets TERM now, and KILL after drain.killAfterSeconds."""
        if self.lifecycle.draining:
            log.warning("asked again to end: running calls get no more time")
            self.lifecycle.hurry(now)
            self.supervisor.tick(now)

    def _drained(self) -> None:
        self._end_keeper()
        self._events.workers_drained()

    def _end_keeper(self) -> None:
        if self._ends and self.lifecycle.is_drained:
            self.keeper.send(control.Shutdown())

    # ---- time

    def tick(self, now: float) -> None:
        """Whatever time alone brings about."""
        self.supervisor.tick(now)
        for incarnation in [each for each, since in self._shut.items() if now - since >= SHUT_SECONDS]:
            del self._shut[incarnation]
            self.supervisor.kill(incarnation, "ChannelBroken", "its channel to the agent was shut")

    def beat(self, now: float) -> None:
        """Look after all workers, once a heartbeat."""
        if self._oom is not None:
            self._oom.observe(now)
        self.supervisor.monitor.beat(now)

    # ---- the keeper

    def keeper_came(self, hello: control.KeeperHello, descriptors: list[int]) -> None:
        """A keeper is there, without processes."""
        log.info("keeper %s with Python %s connected", hello.version, hello.python)
        self.supervisor.cpus = hello.cpus
        self._oom = OomCounter(descriptors[0]) if descriptors else None
        if len(descriptors) > 1:
            self.log_lines.keeper_came(descriptors[1])
        close_all(descriptors[2:])
        if self._drained_by_keeper:
            self._drained_by_keeper = self._ends = False
            self.lifecycle.undrain()
        self.supervisor.apply(self.lifecycle.keeper_came(time.monotonic()))
        self._end_keeper()

    def keeper_said(self, frame: control.FromKeeper, descriptors: list[int]) -> None:
        """Something has happened to a process, or to the container."""
        match frame:
            case control.WorkerStarted():
                self._started(frame, descriptors)
                return
            case control.WorkerExited():
                self._exited(frame)
            case control.StartFailed():
                self.supervisor.could_not_start(frame.incarnation, frame.stage, frame.type, frame.message, frame.traceback)
                self._died(frame.incarnation, "StartFailed", Exit(frame.message, frame.message))
            case control.MemoryMeasured():
                for incarnation, rss, own in frame.workers:
                    self.lifecycle.seats.measured(incarnation, rss, own)
            case control.KeeperTerminating():
                self._keeper_terminates()
        close_all(descriptors)

    def _keeper_terminates(self) -> None:
        """The first time, drain; again: no more time than from TERM to KILL."""
        if self._keeper_asked:
            self.hurry(time.monotonic())
            return
        log.info("the worker's container is being stopped: draining")
        first = not self.lifecycle.draining
        self.end(time.monotonic())
        self._drained_by_keeper, self._keeper_asked = first, True

    def keeper_went(self) -> None:
        """The keeper is gone, and every process with it."""
        self._keeper_asked = False
        oom = self._oom is not None and self._oom.explains(time.monotonic())
        exit_ = exits.CONTAINER_OUT_OF_MEMORY if oom else exits.CONTAINER_ENDED
        for incarnation in list(self.channels):
            self._forget(incarnation, exit_)
        self._forget_memory()
        self.supervisor.keeper_went("OutOfMemory" if oom else "KeeperLost", exit_.words)

    def _forget_memory(self) -> None:
        if self._oom is not None:
            self._oom.close()
            self._oom = None

    # ---- one process

    def _started(self, frame: control.WorkerStarted, descriptors: list[int]) -> None:
        if self.lifecycle.seats.of(frame.incarnation) is None or len(descriptors) != 3:
            close_all(descriptors)
            self.processes.signal(frame.incarnation, signal.SIGKILL)
            return
        inbox, inbox_reader, outbox = descriptors
        ends = inbox, inbox_reader, outbox
        channel = WorkerChannel(frame.incarnation, *ends, self._on_frames, self._on_broken, self._events.call_unwritten)
        self.channels[frame.incarnation] = channel
        self.lifecycle.seats.started(frame.incarnation, frame.pid, frame.note)

    def _on_frames(self, channel: WorkerChannel, said: Sequence[worker_ipc.FromWorker]) -> None:
        channel.heard = True
        if channel.suspect:
            self.supervisor.monitor.heard(channel)
        self._events.worker_said(channel.incarnation, said)

    def _on_broken(self, channel: WorkerChannel, why: str) -> None:
        if self.lifecycle.seats.of(channel.incarnation) is None:
            return
        if why:
            self.supervisor.kill(channel.incarnation, "ChannelBroken", why)
        else:
            # Most likely it is dead, or about to end, of what its wait status will say. If not, it is of no more use.
            self._shut.setdefault(channel.incarnation, time.monotonic())

    def _exited(self, frame: control.WorkerExited) -> None:
        if not frame.signal:
            self._died(frame.incarnation, "Crashed", exits.exited(frame.code))
            return
        oom = frame.signal == signal.SIGKILL and self._oom is not None and self._oom.explains(time.monotonic())
        channel, seat = self.channels.get(frame.incarnation), self.lifecycle.seats.of(frame.incarnation)
        stacks = channel.stacks.read() if channel and channel.stacks else ""
        exit_ = exits.killed(frame.signal, stacks, seat.fault[1] if seat and seat.fault else "", oom=oom)
        self._died(frame.incarnation, "OutOfMemory" if exit_.how == "oom" else "Crashed", exit_, stacks)

    def _died(self, incarnation: str, reason: str, exit_: Exit, stacks: str = "") -> None:
        name = self.processes.worker_id(incarnation)
        self._forget(incarnation, exit_)
        self.supervisor.died(incarnation, reason, exit_, stacks, name)

    def _forget(self, incarnation: str, exit_: Exit) -> None:
        self.supervisor.monitor.gone(incarnation)
        if incarnation in self.channels:
            self._events.worker_died(incarnation, exit_)
            self.channels.pop(incarnation).close()
        self._shut.pop(incarnation, None)
