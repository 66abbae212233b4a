"""The far side of an agent's sockets: a keeper, simulated, and what its worker processes share."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.process import Process

from snakepit._ipc import control

if TYPE_CHECKING:
    from simulation.account import Account

    from snakepit_agent.workers.keeper import KeeperEvents


@dataclass(eq=False)
class Machine:
    """What all processes of one capsule share. `descriptors`: of all capsules, what the agent's ends of their sockets lead to."""

    account: Account
    chance: random.Random
    descriptors: dict[int, Process]
    agent: Callable[[], str]
    slots: int = 1
    asks: tuple[str, ...] = ()
    """What its tool `asking` calls, and in which `pools` (empty: its own)."""
    pools: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.processes: list[Process] = []


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
            self._events.keeper_came(control.KeeperHello(control.PROTOCOL, 1, "simulated", "3"), [])

    def send(self, order: control.FromAgent) -> None:
        if not self._here:
            return
        if isinstance(order, control.StartWorker):
            self._later(0.01, self._start_worker, order)
        elif isinstance(order, control.SignalWorker):
            self._later(0.001, self._signal, order)
        elif isinstance(order, control.Shutdown):
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

    def _start_worker(self, order: control.StartWorker) -> None:
        process = Process(self._machine, order)
        process.on_death = lambda how: self._later(0.002, self._exited, process, how)
        started = control.WorkerStarted(process.index, process.incarnation, process.pid)
        self._events.keeper_said(started, [process.pid, -1, -1])

    def _exited(self, process: Process, how: int) -> None:
        self._events.keeper_said(control.WorkerExited(process.index, process.incarnation, 0, int(how)), [])

    def _signal(self, order: control.SignalWorker) -> None:
        for process in list(self._machine.processes):
            if process.incarnation == order.incarnation and order.signal in (signal.SIGKILL, signal.SIGTERM):
                process.die(order.signal)
