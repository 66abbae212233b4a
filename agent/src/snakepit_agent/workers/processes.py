"""The living worker processes, as the rest of the agent speaks to them: by their incarnation. It decides nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from snakepit._ipc import control
from snakepit._ipc import worker as worker_ipc
from snakepit._names import worker_id
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.workers.channel import WorkerChannel


class Processes:
    """`order` gives something to the keeper to do; `capsule` is the capsule's name."""

    def __init__(self, lifecycle: Lifecycle, order: Callable[[control.FromAgent], None], capsule: str) -> None:
        self.channels: dict[str, WorkerChannel] = {}
        self._lifecycle = lifecycle
        self._order = order
        self._capsule = capsule

    def worker_id(self, incarnation: str) -> str:
        """The public name of a living worker."""
        seat = self._lifecycle.seats.of(incarnation)
        return worker_id(self._capsule, seat.index) if seat else ""

    def tell(self, incarnation: str, frame: worker_ipc.ToWorker) -> None:
        """A control frame; a worker that is dead needs none."""
        if channel := self.channels.get(incarnation):
            channel.control(frame)

    def signal(self, incarnation: str, number: int, *, group: bool = True) -> None:
        """Have the keeper send a signal; `group`: to the worker's children too."""
        self._order(control.SignalWorker(incarnation, number, group))

    def dump(self, incarnation: str, *, anew: bool = True) -> None:
        """Have the worker write its stacks: they are read when they are needed, and go to the log when it is killed."""
        if (stacks := self.channels[incarnation].stacks) is not None:
            stacks.expect(time.monotonic(), anew=anew)
        self.signal(incarnation, signal.SIGUSR1, group=False)
