"""Looks after workers that run no call: carries out what `liveness` decides about their silence."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from snakepit._ipc.worker import Ping
from snakepit.spec.fields import HeartbeatSpec
from snakepit_agent.model.liveness import Liveness, Reaction
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.channel import WorkerChannel
from snakepit_agent.workers.processes import Processes

log = logging.getLogger(__name__)


class Supervisor(Protocol):
    """Whoever can do something about a worker."""

    processes: Processes

    def kill(self, incarnation: str, reason: str, message: str) -> None: ...
    def suspect(self, incarnation: str, suspect: bool) -> None: ...


class Monitor:
    """Watches one capsule's ready workers."""

    def __init__(self, heartbeat: HeartbeatSpec, ledger: Ledger, supervisor: Supervisor) -> None:
        self._liveness = Liveness(heartbeat)
        self._ledger = ledger
        self._supervisor = supervisor
        self._processes = supervisor.processes

    def configure(self, heartbeat: HeartbeatSpec) -> None:
        """Silence means something else now."""
        self._liveness.heartbeat = heartbeat

    def ready(self, incarnation: str) -> None:
        """The worker serves, and is watched from now on."""
        self._liveness.ready(incarnation, time.monotonic())
        if self._processes.channels[incarnation].stacks is None:
            log.debug("worker %s can't show its stacks", self._processes.worker_id(incarnation))

    def gone(self, incarnation: str) -> None:
        """The worker has ended, or is being stopped."""
        self._liveness.gone(incarnation)

    def heard(self, channel: WorkerChannel) -> None:
        """A suspect worker has said something."""
        self._liveness.heard(channel.incarnation)
        self._suspect(channel, False)

    def beat(self, now: float) -> None:
        """Look after all workers, once a heartbeat."""
        heard = {incarnation for incarnation, channel in self._processes.channels.items() if channel.heard}
        for incarnation in heard:
            self._processes.channels[incarnation].heard = False
        self._tell_stacks(now)
        busy = {incarnation for incarnation, worker in self._ledger.workers.items() if worker.held or worker.closed}
        for incarnation, reaction in self._liveness.beat(now, heard, busy):
            self._carry_out(incarnation, reaction)

    def _tell_stacks(self, now: float) -> None:
        for incarnation, channel in self._processes.channels.items():
            if (stacks := channel.stacks) is not None and (text := stacks.unasked(now)):
                worker = self._processes.worker_id(incarnation)
                log.info("worker %s was asked for its stacks:\n%s", worker, text, extra={"worker": worker})

    def reads_nothing(self, incarnation: str) -> None:
        """The worker has left all its calls unread."""
        for reaction in self._liveness.unread(incarnation, time.monotonic()):
            self._carry_out(incarnation, reaction)

    def _carry_out(self, incarnation: str, reaction: Reaction) -> None:
        match reaction:
            case Reaction.ASK:
                self._processes.tell(incarnation, Ping())
            case Reaction.SUSPECT:
                name = self._processes.worker_id(incarnation)
                log.warning("worker %s runs no call and does not answer: it gets no new ones until it does", name, extra={"worker": name})
                self._suspect(self._processes.channels[incarnation], True)
                self._processes.dump(incarnation)
            case Reaction.LOST:
                self._liveness.gone(incarnation)
                silence = f"it ran no call and did not answer for {self._liveness.heartbeat.timeout_seconds:g} s"
                why = f"{silence}: it was stopped, or something in it held the interpreter"
                self._supervisor.kill(incarnation, "NotAnswering", why)

    def _suspect(self, channel: WorkerChannel, suspect: bool) -> None:
        channel.suspect = suspect
        self._ledger.suspend(channel.incarnation, suspect)
        self._supervisor.suspect(channel.incarnation, suspect)
