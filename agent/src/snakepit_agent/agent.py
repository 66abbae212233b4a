"""One agent put together: workers on one side, control-plane replicas on the other, and the timers. It decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

from snakepit._ipc.worker import Failed, FromWorker, Ready, SetLimits
from snakepit._names import new_id
from snakepit._wire.token import Token
from snakepit.spec import InvalidPool
from snakepit.v1 import link_pb2
from snakepit_agent.calls.pipeline import Pipeline
from snakepit_agent.link.announcer import Announcer
from snakepit_agent.link.bulk import Route
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_agent.settings import Settings
from snakepit_agent.settings import told as settings_told
from snakepit_agent.telemetry import Telemetry
from snakepit_agent.workers.workers import Workers

HELD_TICK_SECONDS = 0.005
"""While calls are here: how late a deadline or a recall may be noticed."""

IDLE_TICK_SECONDS = 0.1
REST_TICK_SECONDS = 1.0
"""While no call is here, and every worker is just what it should be: idle capsules must cost nothing."""

WORKERS_TICK_SECONDS = 0.02

log = logging.getLogger(__name__)


class Agent:
    """Runs from `start` to `stop`. `finished`: set when a drain is over. `on_change` is called after each change of a worker."""

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.telemetry = Telemetry(settings.pool)
        self.incarnation = new_id()
        self.finished = asyncio.Event()
        self.ledger = Ledger(self._slots_touched)
        self.workers = Workers(settings, self.ledger, self, self.telemetry)
        self._token = Token(settings.token_file)
        self.uplink = Uplink(settings.server, self._capsule, version("snakepit-agent"), self, self._token, settings.trust)
        supervisor, processes = self.workers.supervisor, self.workers.processes
        self.announcer = Announcer(
            settings.capsule,
            supervisor.slots,
            self.uplink,
            self.ledger,
            supervisor.lifecycle,
            processes.worker_id,
            self._reported,
        )
        self.pipeline = Pipeline(settings, self.ledger, supervisor, self.uplink, self._route, self.announcer.flush, self._work_came)
        self.handlers = self._handlers()
        """By kind of frame: what is done with it, given the replica's id and the message."""
        self._on_change = on_change
        self._fast = False
        self._ticked = 0.0
        self._loop = asyncio.get_running_loop()
        seats = supervisor.lifecycle.seats
        self.telemetry.watch(self._loop, self.ledger.workers.values, lambda: seats, lambda: len(self.uplink.linked))
        self._tick_timer: asyncio.TimerHandle | None = None
        self._beat_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Raises OSError when the run folder can't be used."""
        self.workers.keeper.start()
        self.uplink.start(self.handlers)
        self._tick()
        self._beat()

    async def stop(self) -> None:
        """Close everything. Without a drain before it, running calls are lost."""
        for timer in (self._tick_timer, self._beat_timer):
            if timer is not None:
                timer.cancel()
        self._tick_timer = None  # Or what ends meanwhile would set it again.
        try:
            await self.pipeline.close()
            await self.uplink.stop()
        finally:  # Also for who is cancelled while it waits here.
            self.workers.stop()

    @property
    def is_ready(self) -> bool:
        """Is a worker warm, and wanted?"""
        return self.workers.lifecycle.seats.is_ready

    def drain(self) -> None:
        """Finish what runs, then set `finished`."""
        if not self.workers.lifecycle.draining:
            self.finished.clear()  # An earlier drain may have ended with its keeper.
        self.workers.end(time.monotonic())

    def hurry(self) -> None:
        """Somebody can't wait for the drain: running calls get no more time than from TERM to KILL."""
        self.workers.hurry(time.monotonic())

    async def settle(self) -> None:
        """After a drain: wait until the keeper has ended and the replicas have been told everything. Without a bound of its own."""
        await self.pipeline.streams.settle()
        await self.workers.keeper.gone.wait()
        await self.uplink.hang_up()

    # ---- the replicas

    def _handlers(self) -> dict[str, Callable[..., None]]:
        stages = self.pipeline
        return {
            "call": stages.calls.on_call,
            "cancel": stages.calls.on_cancel,
            "recall": stages.calls.on_recall,
            "state_reply": stages.state.reply,
            "session_end": stages.sessions.on_end,
            "session_release": stages.sessions.on_release,
            "result": stages.nested.on_result,
            "flow": stages.nested.on_flow,
            "drain": self._on_drain,
            "settings": self._on_settings,
            "log_lines_request": self._on_log_lines_request,
            "go_away": lambda _replica, _go_away: None,  # It sends no more calls; the link closes when it has ended those it sent.
        }

    def _on_drain(self, _replica: str, drain: link_pb2.Drain) -> None:
        now, supervisor = time.monotonic(), self.workers.supervisor
        if drain.worker:
            (supervisor.recycle_worker if drain.recycle else supervisor.drain_worker)(drain.incarnation, now)
        else:
            self.workers.lifecycle.told_to_drain = True
            self.workers.drain(now)

    def _on_settings(self, _replica: str, told: link_pb2.PoolSettings) -> None:
        """Whichever replica said so last: each has it of the operator, and says it when that is other than before."""
        ours = self.settings
        if (told.pool, told.uid) != (ours.pool, ours.pool_uid):
            return
        try:
            self.settings = settings_told(ours, told)
        except InvalidPool as error:
            log.error("settings of generation %s are passed over, as they can't be read: %s", told.generation, error)
            return
        if self.settings.spec == ours.spec:
            return
        log.info("the pool's settings are those of generation %s", told.generation)
        self.workers.supervisor.configure(self.settings, time.monotonic())
        self.pipeline.configure(self.settings.spec)
        self._tell_limits()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._beat()

    def _on_log_lines_request(self, replica: str, asked: link_pb2.LogLinesRequest) -> None:
        lines = self.workers.log_lines
        reply = link_pb2.LogLinesReply(id=asked.id, lines=lines.last(asked.limit, asked.worker, asked.call_id))
        if not lines.are_kept:
            reply.problem = "no keeper has brought lines: none is there yet, or its worker image is of a version that keeps none"
        self.uplink.send(replica, link_pb2.Frame(log_lines_reply=reply))

    def _capsule(self) -> link_pb2.Capsule:
        s = self.settings
        pool = link_pb2.PoolSettings(pool=s.pool, uid=s.pool_uid, generation=s.pool_generation, spec=s.spec_json)
        of_pod = {"name": s.capsule, "pod_uid": s.pod_uid, "node": s.node}
        return link_pb2.Capsule(**of_pod, incarnation=self.incarnation, pool=s.pool, settings=pool, tells_log_lines=True)

    def running_ids(self, replica: str) -> Iterable[int]:
        """The replica's ids of its calls that are here."""
        return (call.remote for call in self.ledger.of_replica(replica))

    @property
    def is_busy(self) -> bool:
        """Does the capsule hold any call?"""
        return bool(self.ledger.calls)

    def replica_linked(self, replica: str) -> None:
        """A link is open, anew or for the first time."""
        self._tell_limits()
        self.announcer.linked(replica)

    def replica_unlinked(self, replica: str) -> None:
        """The link has broken, and may come back."""
        self.pipeline.replica_unlinked(replica)
        self.announcer.unlinked(replica)

    def replica_forgotten(self, replica: str) -> None:
        """The replica has been away for too long."""
        self.pipeline.calls.replica_forgotten(replica)

    def _route(self, call: HeldCall) -> Route | None:
        """A stream of its own for a call, to the replica that sent it; None: it has gone."""
        replica = self.uplink.replica(call.replica)
        idle = self.settings.spec.call.stream_idle_seconds
        return None if replica is None else Route(replica, call.remote, idle)

    def _limits(self) -> SetLimits:
        return SetLimits(*self.uplink.largest_limit(), "pickle" in self.settings.spec.call.payloads)

    def _tell_limits(self) -> None:
        limits = self._limits()
        for incarnation in self.workers.channels:
            self.workers.processes.tell(incarnation, limits)

    def _slots_touched(self) -> None:
        self.announcer.touched()

    # ---- the workers

    def worker_said(self, incarnation: str, said: Sequence[FromWorker]) -> None:
        """A worker has said something. Raises WorkerLies."""
        first = said[0] if said else None
        if type(first) is Ready or type(first) is Failed:  # Before which a worker says nothing, and mostly nothing with it.
            self._on_start(incarnation, first)
        self.pipeline.worker_said(incarnation, said)

    def _on_start(self, incarnation: str, frame: Ready | Failed) -> None:
        supervisor = self.workers.supervisor
        if isinstance(frame, Failed):
            supervisor.could_not_start(incarnation, frame.stage, frame.type, frame.message, frame.traceback)
        elif supervisor.ready(incarnation, frame):
            self.workers.processes.tell(incarnation, self._limits())
            self.announcer.offered(frame)

    def worker_died(self, incarnation: str, exit_: Exit) -> None:
        """Its death is proven; its channel is still there."""
        self.pipeline.worker_died(incarnation, exit_)

    def call_unwritten(self, id_: int, why: str) -> None:
        """A call can't be given to its worker."""
        log.error("%s", why)
        self.pipeline.execution.unwritten(id_, why)

    def workers_changed(self) -> None:
        """Of some worker, something is not as it was."""
        self.announcer.changed()

    def workers_drained(self) -> None:
        """A drain is over."""
        self.finished.set()

    def _reported(self) -> None:
        self._tick_anew()  # What has changed may be due before the capsule would have looked.
        self._on_change()

    # ---- time

    def _start_over(self) -> None:
        """The control plane has declared this capsule lost: nothing that it holds counts any more, so it becomes another one."""
        log.warning("capsule incarnation %s was declared lost: beginning anew", self.incarnation)
        self.incarnation = new_id()
        self.uplink.start_over()
        self.workers.keeper.dismiss()

    def _work_came(self) -> None:
        if not self._fast:
            self._tick_anew()

    def _tick_anew(self) -> None:
        if self._tick_timer is not None:
            self._tick_timer.cancel()
            self._arm_tick()

    def _arm_tick(self) -> None:
        self._fast = bool(self.ledger.calls)
        resting = REST_TICK_SECONDS if self.workers.lifecycle.seats.is_at_rest else IDLE_TICK_SECONDS
        self._tick_timer = self._loop.call_later(HELD_TICK_SECONDS if self._fast else resting, self._tick)

    def _tick(self) -> None:
        self._arm_tick()
        now = time.monotonic()
        self.pipeline.calls.tick(now)
        if now - self._ticked >= WORKERS_TICK_SECONDS:
            self._ticked = now
            self.workers.tick(now)

    def _beat(self) -> None:
        self._beat_timer = self._loop.call_later(self.settings.spec.heartbeat.interval_seconds, self._beat)
        now = time.monotonic()
        self.workers.beat(now)
        self.uplink.tick(now)
        if self.uplink.is_fenced:
            self._start_over()
        self.pipeline.beat(now)
        self.announcer.report()
