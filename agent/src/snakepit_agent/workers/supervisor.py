"""The workers' lives, carried out: what `lifecycle` decides is done here, and it hears here what has happened."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

from snakepit._ipc import control
from snakepit._ipc import worker as worker_ipc
from snakepit._ipc.control import thread_environment
from snakepit._names import new_id, worker_id
from snakepit._values.strings import clipped
from snakepit._wire.channels import MAX_PAYLOAD_BYTES
from snakepit_agent.link.translate import offer_bytes
from snakepit_agent.model import actions
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.recycling import Why
from snakepit_agent.model.seats import SeatState
from snakepit_agent.model.slots import Ledger
from snakepit_agent.settings import Settings
from snakepit_agent.telemetry import Telemetry
from snakepit_agent.workers.monitor import Monitor
from snakepit_agent.workers.processes import Processes
from snakepit_agent.workers.stacks import tell
from snakepit_agent.workers.start_log import StartLog

_STAGES = {"import": "ImportFailed", "adapter": "AdapterInvalid", "setup": "SetupFailed", "fork": "ForkFailed"}

MOST_TEXT = 2000
"""Characters of an author's message, or traceback, that are told to others; the log has all of it."""

log = logging.getLogger(__name__)


def clip(text: str) -> str:
    """The end of it says what happened; every heartbeat carries it."""
    text = text.rstrip()
    return text if len(text) <= MOST_TEXT else "... " + text[-MOST_TEXT:]


class Supervisor:
    """`order` gives something to the keeper to do. `changed` is called at every change of a worker, `drained` when a drain is over."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        order: Callable[[control.FromAgent], None],
        changed: Callable[[], None],
        drained: Callable[[], None],
        telemetry: Telemetry,
    ) -> None:
        self.slots = settings.spec.worker.threads if settings.spec.worker.profile == "thread" else 1
        self.lifecycle = Lifecycle(actions.policy(settings), new_id, random.random)
        self.processes = Processes(self.lifecycle, order, settings.capsule)
        self.changed = changed
        self.cpus = 0.0
        """CPUs that the workers' container may use; 0: unknown."""
        self._settings = settings
        self._ledger = ledger
        self._order = order
        self._drained = drained
        self._telemetry = telemetry
        self.monitor = Monitor(settings.spec.heartbeat, ledger, self)
        self._start_log = StartLog()

    def configure(self, settings: Settings, now: float) -> None:
        """The pool's settings are others now: whatever has yet to happen goes by them."""
        self._settings = settings
        self.lifecycle.configure(actions.policy(settings))
        self.monitor.configure(settings.spec.heartbeat)
        for incarnation in self.processes.channels:
            self._watch_memory(incarnation)
        self.tick(now)

    def _watch_memory(self, incarnation: str) -> None:
        self._order(control.SetMemoryInterest(incarnation, self.lifecycle.memory_interest(incarnation)))

    # ---- one worker

    def ready(self, incarnation: str, frame: worker_ipc.Ready) -> bool:
        """`setup()` has returned. False: the worker is not to be used."""
        if (size := offer_bytes(frame.tools, frame.description)) > MAX_PAYLOAD_BYTES:
            said = f"its {len(frame.tools)} tools have {size} bytes of descriptions and schemas, {MAX_PAYLOAD_BYTES} is the most"
            self.could_not_start(incarnation, "adapter", "", said, "")
            self.kill(incarnation, "AdapterInvalid", said)
            return False
        decided = self.lifecycle.became_ready(incarnation, frame.setup_seconds, time.monotonic(), clipped(frame.python, 100))
        if decided is None:
            return False
        worker = self.processes.worker_id(incarnation)
        self._telemetry.became_ready(frame.setup_seconds)
        log.info("worker %s is ready after %.3f s", worker, frame.setup_seconds, extra={"worker": worker})
        if not self.lifecycle.seats.is_failing:
            self._start_log.forget()
        self._ledger.open(incarnation, self.slots)
        self.monitor.ready(incarnation)
        if self.lifecycle.policy.limits.memory:
            self._watch_memory(incarnation)
        self.apply(decided)
        return True

    def could_not_start(self, incarnation: str, stage: str, kind: str, message: str, traceback: str) -> None:
        """Why the worker will exit, or has no process."""
        reason, said = _STAGES.get(stage, "StartFailed"), f"{kind}: {message}" if kind and kind != "AdapterError" else message
        self._start_log.failed(self.processes.worker_id(incarnation), reason, clip(said), traceback)
        self.lifecycle.seats.could_not_start(incarnation, reason, clip(said), clip(traceback))

    def suspect(self, incarnation: str, suspect: bool) -> None:
        """The worker does not answer, or does again."""
        self.lifecycle.seats.suspect(incarnation, suspect)
        self.changed()

    def kill(self, incarnation: str, reason: str, message: str) -> None:
        """Kill the worker for a reason that is to be told."""
        worker = self.processes.worker_id(incarnation)
        log.warning("worker %s is killed: %s", worker, message, extra={"worker": worker})
        self.apply(self.lifecycle.kill(incarnation, reason, message))

    def died(self, incarnation: str, reason: str, exit_: Exit, stacks: str, name: str) -> None:
        """Its death is proven, and whoever had to do with it knows. `name`: its public one."""
        seat = self.lifecycle.seats.of(incarnation)
        was = seat.state if seat is not None else None
        decided = self.lifecycle.died(incarnation, reason, exit_.words, time.monotonic())
        if seat is not None and was is SeatState.STARTING:
            self._telemetry.did_not_start(seat.reason)
            self._start_log.ended(seat, name, stacks)
        elif was is not None:
            tell(stacks, name, log)
            level = logging.INFO if exit_.how == "exit code 0" else logging.WARNING
            log.log(level, "worker %s ended: %s (%s)", name, exit_.words, was.value, extra={"worker": name})
        self.apply(decided)

    def keeper_went(self, reason: str, words: str) -> None:
        """Every process is gone with it, also those that were about to start."""
        for _ in [seat for seat in self.lifecycle.seats if seat.state is SeatState.STARTING]:
            self._telemetry.did_not_start(reason)
        self.apply(self.lifecycle.keeper_went(reason, words))

    # ---- time and maintenance

    def tick(self, now: float) -> None:
        """Whatever time alone brings about."""
        busy = {incarnation for incarnation, worker in self._ledger.workers.items() if worker.held}
        if decided := self.lifecycle.tick(now, busy, self._ledger.kept(now)):
            self.apply(decided)

    def drain(self, now: float) -> None:
        """The whole capsule: finish what runs, then stop. The keeper stays: a container that ended by itself would be started again."""
        self.apply(self.lifecycle.drain(now))

    def drain_worker(self, incarnation: str, now: float) -> None:
        """Its calls may finish; then another takes its place."""
        self.apply(self.lifecycle.drain_worker(incarnation, now))

    def recycle_worker(self, incarnation: str, now: float) -> None:
        """Somebody asks for it, and wants to know what comes of it."""
        self._start_log.forget()
        self.apply(self.lifecycle.recycle(incarnation, Why.ASKED, now))

    def retire(self, incarnation: str, now: float) -> None:
        """The worker has served whom it was for: a fresh one takes its place."""
        self.apply(self.lifecycle.retire(incarnation, now))

    # ---- what lifecycle decided

    def apply(self, decided: Sequence[actions.Action]) -> None:
        """Do what was decided, in order, and report what has changed with it."""
        gone = "DRAINING" if self.lifecycle.draining else "WORKER_GONE"
        for action in decided:
            match action:
                case actions.Start():
                    self._start(action)
                case actions.Signal():
                    self.processes.signal(action.incarnation, action.signal, group=action.group)
                case actions.Close():
                    self._ledger.close(action.incarnation, gone, keep=action.keep)
                case actions.Stop():
                    self._ledger.close(action.incarnation, gone)
                    self.processes.tell(action.incarnation, worker_ipc.Stop())
                case actions.Finished():
                    self._drained()
        self.changed()

    def _start(self, action: actions.Start) -> None:
        spec = self._settings.spec
        self._order(
            control.StartWorker(
                index=action.index,
                incarnation=action.incarnation,
                adapter=spec.worker.adapter,
                profile=str(spec.worker.profile),
                slots=self.slots,
                startup=str(spec.worker.startup),
                env=thread_environment(spec.worker.profile, spec.worker.threads, self.cpus),
                name=worker_id(self._settings.capsule, action.index),
                payloads=spec.call.payloads,
            )
        )
