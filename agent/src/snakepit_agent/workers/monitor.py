"""Looks after workers that run no call: carries out what `liveness` decides about their silence."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from snakepit._ipc.frames import Ping, ToWorker
from snakepit.spec.fields import HeartbeatSpec
from snakepit_agent.model.liveness import Liveness, Reaction
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.channel import WorkerChannel

log = logging.getLogger(__name__)


class Workers(Protocol):
    """What of the workers' owner it needs."""

    channels: dict[str, WorkerChannel]

    def worker_id(self, incarnation: str) -> str: ...
    def tell(self, incarnation: str, frame: ToWorker) -> None: ...
    def dump(self, incarnation: str) -> None: ...
    def kill(self, incarnation: str, reason: str, message: str) -> None: ...
    def suspect(self, incarnation: str, suspect: bool) -> None: ...


class Monitor:
    def __init__(self, heartbeat: HeartbeatSpec, ledger: Ledger, workers: Workers) -> None:
        self._liveness = Liveness(heartbeat)
        self._seconds = heartbeat.timeout_seconds
        self._ledger = ledger
        self._workers = workers

    def ready(self, incarnation: str) -> None:
        self._liveness.ready(incarnation, time.monotonic())
        if self._workers.channels[incarnation].stacks is None:
            log.debug("worker %s can't show its stacks", self._workers.worker_id(incarnation))

    def gone(self, incarnation: str) -> None:
        self._liveness.gone(incarnation)

    def heard(self, channel: WorkerChannel) -> None:
        """Something was, of a suspect one."""
        self._liveness.heard(channel.incarnation)
        self._suspect(channel, False)

    def beat(self, now: float) -> None:
        """Once a heartbeat."""
        heard = {incarnation for incarnation, channel in self._workers.channels.items() if channel.heard}
        for incarnation in heard:
            self._workers.channels[incarnation].heard = False
        self._tell_stacks(now)
        busy = {incarnation for incarnation, worker in self._ledger.workers.items() if worker.held or worker.closed}
        for incarnation, reaction in self._liveness.beat(now, heard, busy):
            self._carry_out(incarnation, reaction)

    def _tell_stacks(self, now: float) -> None:
        for incarnation, channel in self._workers.channels.items():
            if (stacks := channel.stacks) is not None and (text := stacks.unasked(now)):
                log.info("worker %s was asked for its stacks:\n%s", self._workers.worker_id(incarnation), text)

    def reads_nothing(self, incarnation: str) -> None:
        """It has left all its calls unread."""
        for reaction in self._liveness.unread(incarnation, time.monotonic()):
            self._carry_out(incarnation, reaction)

    def _carry_out(self, incarnation: str, reaction: Reaction) -> None:
        match reaction:
            case Reaction.ASK:
                self._workers.tell(incarnation, Ping())
            case Reaction.SUSPECT:
                name = self._workers.worker_id(incarnation)
                log.warning("worker %s runs no call and does not answer: it gets no new ones until it does", name)
                self._suspect(self._workers.channels[incarnation], True)
                self._workers.dump(incarnation)
            case Reaction.LOST:
                self._liveness.gone(incarnation)
                why = f"it ran no call and did not answer for {self._seconds:g} s: it was stopped, or something in it held the interpreter"
                self._workers.kill(incarnation, "NotAnswering", why)

    def _suspect(self, channel: WorkerChannel, suspect: bool) -> None:
        channel.suspect = suspect
        self._ledger.suspend(channel.incarnation, suspect)
        self._workers.suspect(channel.incarnation, suspect)
