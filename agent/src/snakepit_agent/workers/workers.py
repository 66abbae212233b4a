"""The worker processes: carries out what `lifecycle` decides, and passes on what the keeper and the workers say.

A death is proven by the keeper's wait status, or by the keeper's own end, and by nothing else.
"""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snakepit._ipc import frames, threads
from snakepit._ipc.sockets import close_all
from snakepit._names import new_id, worker_id
from snakepit._telemetry import tracing
from snakepit._values.strings import clipped
from snakepit._wire.channels import MAX_PAYLOAD_BYTES
from snakepit_agent.link.translate import offer_bytes
from snakepit_agent.model import actions as life
from snakepit_agent.model import exits as endings
from snakepit_agent.model import start_failures as starts
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.leases import ExclusiveLeases
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.recycling import Why
from snakepit_agent.model.seats import Seat, SeatState
from snakepit_agent.model.slots import Ledger
from snakepit_agent.model.start_failures import StartFailures
from snakepit_agent.settings import Settings
from snakepit_agent.workers.channel import WorkerChannel
from snakepit_agent.workers.keeper import KeeperServer
from snakepit_agent.workers.monitor import Monitor
from snakepit_agent.workers.oom import OomCounter
from snakepit_agent.workers.stacks import tell

if TYPE_CHECKING:
    from snakepit_agent.calls.calls import Calls
    from snakepit_agent.calls.nested import NestedCalls
    from snakepit_agent.calls.state import StateForwarder

_STAGES = {"import": "ImportFailed", "adapter": "AdapterInvalid", "setup": "SetupFailed", "fork": "ForkFailed"}
_PAGE = 4096

SHUT_SECONDS = 3.0
"""So long after its channel was shut, a worker that is not known to be dead is killed for it."""

MOST_TEXT = 2000
"""Characters of an author's message, or traceback, that are told to others; the log has all of it."""

log = logging.getLogger(__name__)


def clip(text: str) -> str:
    """The end of it says what happened; every heartbeat carries it."""
    text = text.rstrip()
    return text if len(text) <= MOST_TEXT else "... " + text[-MOST_TEXT:]


class Workers:
    """`changed` is called at every change of a worker; `finished` when a drain is over; `offered` with the tools of a ready worker."""

    calls: Calls
    state: StateForwarder
    limits: Callable[[], frames.SetResultLimit]
    nested: NestedCalls

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        changed: Callable[[], None],
        finished: Callable[[], None],
        offered: Callable[[frames.Ready], None],
        work_came: Callable[[], None],
        touched: Callable[[], None],
    ) -> None:
        self.channels: dict[str, WorkerChannel] = {}
        self.slots = settings.spec.worker.threads if settings.spec.worker.profile == "thread" else 1
        self.lifecycle = Lifecycle(life.policy(settings), new_id, random.random)
        self.leases = ExclusiveLeases(exclusive=settings.spec.worker.exclusive)
        self.keeper = KeeperServer(settings.run_dir, self)
        self.work_came = work_came
        self._settings = settings
        self._ledger = ledger
        self._changed = changed
        self._finished = finished
        self._offered = offered
        self._touched = touched
        self.monitor = Monitor(settings.spec.heartbeat, ledger, self)
        self._oom: OomCounter | None = None
        self._same_processes = False
        self._cpus = 0.0
        self._drained_by_keeper = False
        self._keeper_asked = False
        self._ending = False
        self._shut: dict[str, float] = {}
        self._starts = StartFailures()

    # ---- what calls, state and reports ask for

    def worker_id(self, incarnation: str) -> str:
        """The public name of a living worker."""
        seat = self.lifecycle.seat(incarnation)
        return worker_id(self._settings.capsule, seat.index) if seat else ""

    def ended_a_call(self, incarnation: str) -> None:
        self.lifecycle.ended_a_call(incarnation)
        if self.leases.is_over(incarnation):
            self._retire(incarnation)

    def taken(self, incarnation: str) -> None:
        """worker.exclusive: the worker is somebody's from now on, or not any more."""
        self._ledger.workers[incarnation].taken = self.leases.owns(incarnation)
        self._changed()

    def session_left(self, uid: str) -> None:
        """worker.exclusive: the session has ended, or moved; what was its own is recycled."""
        for incarnation in self.leases.leave(uid):
            self._retire(incarnation)

    def _retire(self, incarnation: str) -> None:
        worker = self._ledger.workers.get(incarnation)
        if worker is not None and not worker.held:
            self._apply(self.lifecycle.retire(incarnation, time.monotonic()))
            self._changed()

    def dump(self, incarnation: str, *, anew: bool = True) -> None:
        """Have the worker write its stacks: they are read when they are needed, and go to the log when it is killed."""
        if (stacks := self.channels[incarnation].stacks) is not None:
            stacks.expect(time.monotonic(), anew=anew)
        self.keeper.send(frames.SignalWorker(incarnation, signal.SIGUSR1, group=False))

    def suspect(self, incarnation: str, suspect: bool) -> None:
        """It does not answer, or does again."""
        self.lifecycle.suspect(incarnation, suspect)
        self._touched()
        self._changed()

    def kill(self, incarnation: str, reason: str, message: str) -> None:
        log.warning("worker %s is killed: %s", self.worker_id(incarnation), message)
        self._apply(self.lifecycle.kill(incarnation, reason, message))

    def tell(self, incarnation: str, frame: frames.ToWorker) -> None:
        """A control frame; a worker that is dead needs none."""
        if channel := self.channels.get(incarnation):
            channel.control(frame)

    def tell_soon(self, incarnation: str, frame: frames.ToWorker) -> None:
        """The same, together with what else the worker is told in this turn of the loop."""
        if channel := self.channels.get(incarnation):
            channel.control_soon(frame)

    def rss(self, pid: int) -> int:
        """Resident bytes; 0 where the keeper's processes can't be seen, as across containers."""
        if not self._same_processes:
            return 0
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0

    # ---- time and maintenance

    def tick(self, now: float) -> None:
        busy = {incarnation for incarnation, worker in self._ledger.workers.items() if worker.held}
        actions = self.lifecycle.tick(now, busy, self._ledger.kept(now))
        for incarnation in [each for each, since in self._shut.items() if now - since >= SHUT_SECONDS]:
            del self._shut[incarnation]
            self.kill(incarnation, "ChannelBroken", "its channel to the agent was shut")
        if actions:
            self._apply(actions)
            self._changed()

    def observe_memory(self, now: float) -> None:
        if self._oom is not None:
            self._oom.observe(now)

    def drain(self, now: float) -> None:
        """The whole capsule: finish what runs, then stop. The keeper stays: a container that ended by itself would be started again."""
        self._drained_by_keeper = False
        self._apply(self.lifecycle.drain(now))
        self._changed()

    def end(self, now: float) -> None:
        """The pod, or its container, is being stopped: drain, and end the keeper then."""
        self._drained_by_keeper = False
        self._apply(self.lifecycle.drain(now))
        self._ending = True
        self._end_keeper()
        self._changed()

    def hurry(self, now: float) -> None:
        """Whoever wants the end asks again: what still runs gets TERM now, and KILL after drain.killAfterSeconds."""
        if self.lifecycle.draining:
            log.warning("asked again to end: running calls get no more time")
            self.lifecycle.hurry(now)
            self.tick(now)

    def _end_keeper(self) -> None:
        if self._ending and self.lifecycle.is_drained:
            self.keeper.send(frames.Shutdown())

    def drain_worker(self, incarnation: str, now: float) -> None:
        """Its calls may finish; then another takes its place."""
        self._apply(self.lifecycle.drain_worker(incarnation, now))
        self._changed()

    def recycle_worker(self, incarnation: str, now: float) -> None:
        """Somebody asks for it, and wants to know what comes of it."""
        self._starts.forget()
        self._apply(self.lifecycle.recycle(incarnation, Why.ASKED, now))
        self._changed()

    def stop(self) -> None:
        """Close every socket: a keeper that is still there ends its workers."""
        self.keeper.stop()
        for incarnation in list(self.channels):
            self.channels.pop(incarnation).close()
        if self._oom is not None:
            self._oom.close()
            self._oom = None

    # ---- the keeper

    def keeper_came(self, hello: frames.KeeperHello, descriptors: list[int], *, same_processes: bool) -> None:
        log.info("keeper %s with Python %s connected", hello.version, hello.python)
        self._same_processes = same_processes
        self._cpus = hello.cpus
        self._oom = OomCounter(descriptors[0]) if descriptors else None
        close_all(descriptors[1:])
        if self._drained_by_keeper:
            self._drained_by_keeper = self._ending = False
            self.lifecycle.undrain()
        self._apply(self.lifecycle.keeper_came(time.monotonic()))
        self._end_keeper()
        self._changed()

    def keeper_said(self, frame: frames.FromKeeper, descriptors: list[int]) -> None:
        match frame:
            case frames.WorkerStarted():
                self._started(frame, descriptors)
                return
            case frames.WorkerExited():
                self._exited(frame)
            case frames.StartFailed():
                self._could_not_start(frame.incarnation, frame.stage, frame.type, frame.message, frame.traceback)
                self._died(frame.incarnation, "StartFailed", Exit(frame.message, frame.message))
            case frames.MemoryMeasured():
                for incarnation, rss, own in frame.workers:
                    self.lifecycle.measured(incarnation, rss, own)
            case frames.KeeperTerminating():
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
        self._keeper_asked = False
        oom = self._oom is not None and self._oom.explains(time.monotonic())
        ending = endings.CONTAINER_OUT_OF_MEMORY if oom else endings.CONTAINER_ENDED
        for incarnation in list(self.channels):
            self._bury(incarnation, ending)
        if self._oom is not None:
            self._oom.close()
            self._oom = None
        self._apply(self.lifecycle.keeper_went("OutOfMemory" if oom else "KeeperLost", ending.words))
        self._changed()

    def _started(self, frame: frames.WorkerStarted, descriptors: list[int]) -> None:
        if self.lifecycle.seat(frame.incarnation) is None or len(descriptors) != 3:
            close_all(descriptors)
            self.keeper.send(frames.SignalWorker(frame.incarnation, signal.SIGKILL))
            return
        inbox, inbox_reader, outbox = descriptors
        ends = inbox, inbox_reader, outbox
        self.channels[frame.incarnation] = WorkerChannel(frame.incarnation, *ends, self._on_frames, self._on_broken, self._on_unwritten)
        self.lifecycle.started(frame.incarnation, frame.pid, frame.note)

    def _exited(self, frame: frames.WorkerExited) -> None:
        if not frame.signal:
            self._died(frame.incarnation, "Crashed", endings.exited(frame.code))
            return
        oom = frame.signal == signal.SIGKILL and self._oom is not None and self._oom.explains(time.monotonic())
        channel, seat = self.channels.get(frame.incarnation), self.lifecycle.seat(frame.incarnation)
        stacks = channel.stacks.read() if channel and channel.stacks else ""
        ending = endings.killed(frame.signal, stacks, seat.fault[1] if seat and seat.fault else "", oom=oom)
        self._died(frame.incarnation, "OutOfMemory" if ending.how == "oom" else "Crashed", ending, stacks)

    def _died(self, incarnation: str, reason: str, ending: Exit, stacks: str = "") -> None:
        name = self.worker_id(incarnation)
        self._bury(incarnation, ending)
        seat = self.lifecycle.seat(incarnation)
        was = seat.state if seat is not None else None
        actions = self.lifecycle.died(incarnation, reason, ending.words, time.monotonic())
        if seat is not None and was is SeatState.STARTING:
            self._start_ended(seat, name, stacks)
        elif was is not None:
            tell(stacks, name, log)
            level = logging.INFO if ending.how == "exit code 0" else logging.WARNING
            log.log(level, "worker %s ended: %s (%s)", name, ending.words, was.value)
        self._apply(actions)
        self._changed()

    def _bury(self, incarnation: str, ending: Exit) -> None:
        self.monitor.gone(incarnation)
        if incarnation in self.channels:
            self.calls.worker_died(incarnation, ending)
            self.state.worker_died(incarnation)
            self.nested.worker_died(incarnation)
            self.leases.forget(incarnation)
            self.channels.pop(incarnation).close()
        self._shut.pop(incarnation, None)

    # ---- one worker

    def _on_frames(self, channel: WorkerChannel, said: Sequence[frames.FromWorker]) -> None:
        channel.heard = True
        if channel.suspect:
            self.monitor.heard(channel)
        for frame in said:
            if type(frame) is frames.Done:
                self.calls.on_done(channel.incarnation, frame)
            elif type(frame) is frames.ChunkFrame:
                self.calls.on_chunk(channel.incarnation, frame)
            else:
                self._on_rare(channel, frame)

    def _on_rare(self, channel: WorkerChannel, frame: frames.FromWorker) -> None:
        match frame:
            case frames.Ready():
                self._ready(channel.incarnation, frame)
            case frames.Failed():
                self._could_not_start(channel.incarnation, frame.stage, frame.type, frame.message, frame.traceback)
            case frames.StateOperation():
                if (call := self.calls.of(channel.incarnation, frame.id)) is not None:
                    self.state.request(call, frame, time.monotonic())
            case frames.ToolCall() | frames.ToolTaken() | frames.ToolDropped():
                self._on_nested(channel.incarnation, frame)
            case frames.Begin():
                self.calls.on_begin(channel.incarnation, frame)
            case frames.ProgressFrame():
                self.calls.on_progress(channel.incarnation, frame)
            case frames.SpanFrame():
                tracing.export_span(
                    frame.name,
                    frame.traceparent,
                    frame.start_ns,
                    frame.end_ns,
                    span_id=frame.span_id,
                    error=frame.error,
                    attributes=frame.attributes,
                )

    def _on_nested(self, incarnation: str, frame: frames.ToolCall | frames.ToolTaken | frames.ToolDropped) -> None:
        match frame:
            case frames.ToolCall():
                self.nested.asked(self.calls.of(incarnation, frame.id), incarnation, frame, time.monotonic())
            case frames.ToolTaken():
                self.nested.taken(incarnation, frame)
            case frames.ToolDropped():
                self.nested.dropped(incarnation, frame)

    def _ready(self, incarnation: str, frame: frames.Ready) -> None:
        if (size := offer_bytes(frame.tools, frame.description)) > MAX_PAYLOAD_BYTES:
            said = f"its {len(frame.tools)} tools have {size} bytes of descriptions and schemas, {MAX_PAYLOAD_BYTES} is the most"
            self._could_not_start(incarnation, "adapter", "", said, "")
            self.kill(incarnation, "AdapterInvalid", said)
            return
        actions = self.lifecycle.became_ready(incarnation, frame.setup_seconds, time.monotonic(), clipped(frame.python, 100))
        if actions is None:
            return
        log.info("worker %s is ready after %.3f s", self.worker_id(incarnation), frame.setup_seconds)
        if not self.lifecycle.is_failing:
            self._starts.forget()
        self.tell(incarnation, self.limits())
        self._ledger.open(incarnation, self.slots)
        self.monitor.ready(incarnation)
        self._offered(frame)
        self._apply(actions)
        self._changed()

    def _could_not_start(self, incarnation: str, stage: str, kind: str, message: str, traceback: str) -> None:
        reason, said = _STAGES.get(stage, "StartFailed"), f"{kind}: {message}" if kind and kind != "AdapterError" else message
        self._say_once(self.worker_id(incarnation), reason, clip(said), traceback)
        self.lifecycle.could_not_start(incarnation, reason, clip(said), clip(traceback))

    def _say_once(self, worker: str, reason: str, message: str, traceback: str) -> None:
        """A cause that keeps workers from starting."""
        cause = starts.cause(reason, message)
        if self._starts.is_news(cause, time.monotonic()):
            told = f"a worker can't start: {reason}: {message}" + (f"\n{traceback.rstrip()}" if traceback else "")
            log.error("%s", told, extra={"worker": worker, "cause": cause})

    def _start_ended(self, seat: Seat, worker: str, stacks: str) -> None:
        """It can't start, for a reason that may have been told."""
        self._say_once(worker, seat.reason, seat.message, seat.traceback or stacks)
        now, cause = time.monotonic(), starts.cause(seat.reason, seat.message)
        tries = self._starts.ended(cause, now)
        if tries:
            told = f"still failing, {tries} tries, next in {max(0.0, seat.retry_at - now):.0f} s: {seat.reason}: {seat.message}"
            log.warning("%s", told, extra={"worker": worker, "cause": cause, "tries": tries})

    def _on_broken(self, channel: WorkerChannel, why: str) -> None:
        if self.lifecycle.seat(channel.incarnation) is None:
            return
        if why:
            self.kill(channel.incarnation, "ChannelBroken", why)
        else:
            # Most likely it is dead, or about to end, of what its wait status will say. If not, it is of no more use.
            self._shut.setdefault(channel.incarnation, time.monotonic())

    def _on_unwritten(self, id_: int, why: str) -> None:
        log.error("%s", why)
        self.calls.never_given(id_, why)

    # ---- what lifecycle decided

    def _apply(self, actions: Sequence[life.Action]) -> None:
        for action in actions:
            match action:
                case life.Start():
                    self._start(action)
                case life.Signal():
                    self.keeper.send(frames.SignalWorker(action.incarnation, action.signal, action.group))
                case life.Close():
                    self._ledger.close(action.incarnation, "DRAINING" if self.lifecycle.draining else "WORKER_GONE", keep=action.keep)
                case life.Stop():
                    self._ledger.close(action.incarnation, "DRAINING" if self.lifecycle.draining else "WORKER_GONE")
                    self.tell(action.incarnation, frames.Stop())
                case life.Finished():
                    self._end_keeper()
                    self._finished()

    def _start(self, action: life.Start) -> None:
        worker = self._settings.spec.worker
        self.keeper.send(
            frames.StartWorker(
                index=action.index,
                incarnation=action.incarnation,
                adapter=worker.adapter,
                profile=str(worker.profile),
                slots=self.slots,
                startup=str(worker.startup),
                env=threads.environment(self._settings.spec.worker.profile, self._settings.spec.worker.threads, self._cpus),
                name=worker_id(self._settings.capsule, action.index),
                payloads=self._settings.spec.call.payloads,
                memory_interest=self.lifecycle.memory_interest(action.incarnation),
            )
        )
