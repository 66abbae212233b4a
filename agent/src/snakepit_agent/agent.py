"""One capsule put together: workers on one side, control-plane replicas on the other, and the timers. It decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version

from snakepit._ipc.frames import Ready, SetResultLimit
from snakepit._names import new_id
from snakepit._wire.token import Token
from snakepit._wire.tools import tool_to_wire
from snakepit.v1 import link_pb2
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.calls import Calls
from snakepit_agent.calls.nested import NestedCalls
from snakepit_agent.calls.sessions import Sessions
from snakepit_agent.calls.state import StateForwarder
from snakepit_agent.calls.streams import Streams
from snakepit_agent.link import report
from snakepit_agent.link.pipes import Line
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.slots import HeldCall, Ledger
from snakepit_agent.settings import Settings
from snakepit_agent.workers.workers import Workers

HELD_TICK_SECONDS = 0.005
"""While calls are here: how late a deadline or a recall may be noticed."""

IDLE_TICK_SECONDS = 0.1
REST_TICK_SECONDS = 1.0
"""While no call is here, and every worker is just what it should be: idle capsules must cost nothing."""

WORKERS_TICK_SECONDS = 0.02

ROUGHLY = 8
"""What waits at a worker behind its slots changes with every call, and no replica decides anything by a few more or less: it hears of so
many. Whether a slot is free, it hears at once."""

log = logging.getLogger(__name__)


class Agent:
    """Runs from `start` to `stop`. `finished`: set when a drain is over. `on_change` is called after each change of a worker."""

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.incarnation = new_id()
        self.finished = asyncio.Event()
        self.ledger = Ledger()
        self.workers = Workers(settings, self.ledger, self._changed, self.finished.set, self._offered, self._work_came, self._touched)
        self._token = Token(settings.token_file)
        self.uplink = Uplink(settings.server, self._capsule, version("snakepit-agent"), self._handlers(), self, self._token)
        self.budget = MemoryBudget(settings.large_bytes)
        self.streams = Streams(
            self.budget,
            self._line,
            self.workers.tell,
            self.uplink.send_result,
            lambda call: self.calls.consumer_went(call),
            lambda call: self.calls.tool_idles(call),
            self._budget_changed,
        )
        self.sessions = Sessions(self.ledger, self.uplink, self.workers)
        self.calls = Calls(
            self.ledger,
            self.uplink,
            self.workers,
            self.streams,
            self.sessions,
            self.budget,
            self._line,
            settings.spec.call.stream_idle_seconds,
            settings.spec.drain.kill_after_seconds,
            self.workers.leases,
            settings.spec.affinity != "hint",
            self._touched,
            self._flush_loads,
        )
        self.workers.limits = self._limits
        self.sessions.calls = self.calls
        self.state = StateForwarder(settings.pool, self.uplink.send, self.workers.tell_soon, self.workers.session_left)
        self.nested = NestedCalls(self.uplink.send, self.workers.tell, self.uplink.inline_limit, settings.max_nested_calls)
        self.workers.calls, self.workers.state, self.workers.nested = self.calls, self.state, self.nested
        self._on_change = on_change
        self._offer: link_pb2.Offer | None = None
        self._told: dict[tuple[str, str], int] = {}
        self._sequence = 0
        self._report_due = self._loads_due = self._fast = False
        self._ticked = 0.0
        self._loop = asyncio.get_running_loop()
        self._tick_timer: asyncio.TimerHandle | None = None
        self._beat_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Raises OSError when the run folder can't be used."""
        self.workers.keeper.start()
        self.uplink.start()
        self._tick()
        self._beat()

    async def stop(self) -> None:
        """Close everything. Without a drain before it, running calls are lost."""
        for timer in (self._tick_timer, self._beat_timer):
            if timer is not None:
                timer.cancel()
        self._tick_timer = None  # Or what ends meanwhile would set it again.
        try:
            await self.calls.arguments.close()
            await self.streams.close()
            await self.uplink.stop()
        finally:  # Also for who is cancelled while it waits here.
            self.workers.stop()

    @property
    def is_ready(self) -> bool:
        """Is a worker warm, and wanted?"""
        return self.workers.lifecycle.is_ready

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
        await self.streams.settle()
        await self.workers.keeper.gone.wait()
        await self.uplink.hang_up()

    # ---- the replicas

    def _handlers(self) -> dict[str, Callable[..., None]]:
        return {
            "call": lambda replica, call: self.calls.on_call(replica, call),
            "cancel": lambda replica, cancel: self.calls.on_cancel(replica, cancel),
            "recall": lambda replica, recall: self.calls.on_recall(replica, recall),
            "state_reply": lambda replica, reply: self.state.reply(replica, reply),
            "session_end": lambda replica, end: self.sessions.on_end(replica, end),
            "session_release": lambda replica, ask: self.sessions.on_release(replica, ask),
            "result": lambda replica, result: self.nested.on_result(replica, result),
            "flow": lambda replica, flow: self.nested.on_flow(replica, flow),
            "drain": self._on_drain,
            "go_away": lambda _replica, _go_away: None,  # It sends no more calls; the link closes when it has ended those it sent.
        }

    def _on_drain(self, _replica: str, drain: link_pb2.Drain) -> None:
        now = time.monotonic()
        if drain.worker:
            (self.workers.recycle_worker if drain.recycle else self.workers.drain_worker)(drain.incarnation, now)
        else:
            self.workers.drain(now)

    def _capsule(self) -> link_pb2.Capsule:
        s = self.settings
        pool = link_pb2.PoolSettings(pool=s.pool, uid=s.pool_uid, generation=s.pool_generation, spec=s.spec_json)
        return link_pb2.Capsule(name=s.capsule, incarnation=self.incarnation, pool=s.pool, pod_uid=s.pod_uid, settings=pool)

    def running_ids(self, replica: str) -> Iterable[int]:
        return (call.remote for call in self.ledger.of_replica(replica))

    @property
    def is_busy(self) -> bool:
        return bool(self.ledger.calls)

    def replica_linked(self, replica: str) -> None:
        """Tell a new link everything, from the start."""
        for incarnation in self.workers.channels:
            self.workers.tell(incarnation, self._limits())
        if self._offer is not None:
            self.uplink.send(replica, link_pb2.Frame(offer=self._offer))
        self.uplink.send(replica, self._report())
        self.ledger.touched.update(self.ledger.workers)
        self._touched()

    def replica_unlinked(self, replica: str) -> None:
        self.calls.replica_unlinked(replica)
        self.state.replica_unlinked(replica)
        self.nested.replica_unlinked(replica)
        self._told = {key: value for key, value in self._told.items() if key[0] != replica}
        self.ledger.owed = {key for key in self.ledger.owed if key[0] != replica}

    def replica_forgotten(self, replica: str) -> None:
        self.calls.replica_forgotten(replica)

    # ---- large payloads

    def _line(self, call: HeldCall) -> Line | None:
        """A stream of its own for a call, to the replica that sent it; None: it has gone."""
        replica = self.uplink.replica(call.replica)
        idle = self.settings.spec.call.stream_idle_seconds
        return None if replica is None else Line(replica, call.remote, self.incarnation, idle, self._token)

    def _budget_changed(self) -> None:
        if self.budget.is_shut != self.ledger.shut:
            self.ledger.set_shut(self.budget.is_shut)
            self._touched()

    def _limits(self) -> SetResultLimit:
        return SetResultLimit(*self.uplink.largest_limit())

    # ---- what replicas are told

    def _offered(self, ready: Ready) -> None:
        offer = link_pb2.Offer(tools=map(tool_to_wire, ready.tools), description=ready.description)
        if offer != self._offer:
            self._offer = offer
            self.uplink.broadcast(link_pb2.Frame(offer=offer))

    def _changed(self) -> None:
        if not self._report_due:
            self._report_due = True
            self._loop.call_soon(self._send_report)

    def _send_report(self) -> None:
        self._report_due = False
        self._tick_anew()  # What has changed may be due before the capsule would have looked.
        self.uplink.broadcast(self._report())
        self._on_change()

    def _report(self) -> link_pb2.Frame:
        self._sequence += 1
        workers = self.workers
        return report.report(
            self._sequence, self.settings.capsule, workers.slots, workers.lifecycle, self.ledger, time.monotonic(), workers.rss
        )

    def _touched(self) -> None:
        if not self._loads_due:
            self._loads_due = True
            self._loop.call_soon(self._flush_loads)

    def _flush_loads(self) -> None:
        """Tell each replica of the slots that others' calls take, where that has changed."""
        self._loads_due = False
        touched, self.ledger.touched = sorted(self.ledger.touched), set()
        for replica in self.uplink.linked:
            changed = [incarnation for incarnation in touched if self._is_news(replica, incarnation)]
            if changed:
                self.uplink.send(replica, report.load(replica, self.ledger, changed, self.workers.worker_id))

    def _is_news(self, replica: str, incarnation: str) -> bool:
        worker = self.ledger.workers.get(incarnation)
        if worker is None:
            self._told.pop((replica, incarnation), None)
            self.ledger.owed.discard((replica, incarnation))
            return False
        elsewhere = worker.elsewhere(replica)
        key = replica, incarnation
        told = self._told.get(key, 0)
        waiting = min(told, elsewhere) >= worker.slots
        if abs(elsewhere - told) < (ROUGHLY if waiting else 1) and key not in self.ledger.owed:
            return False
        self.ledger.owed.discard(key)
        self._told[key] = elsewhere
        return True

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
        resting = REST_TICK_SECONDS if self.workers.lifecycle.is_at_rest else IDLE_TICK_SECONDS
        self._tick_timer = self._loop.call_later(HELD_TICK_SECONDS if self._fast else resting, self._tick)

    def _tick(self) -> None:
        self._arm_tick()
        now = time.monotonic()
        self.calls.tick(now)
        if now - self._ticked >= WORKERS_TICK_SECONDS:
            self._ticked = now
            self.workers.tick(now)

    def _ask_after_owners(self, now: float) -> None:
        """worker.exclusive: the word that a session has ended may have been lost with a link or a replica."""
        for owner in self.workers.leases.doubtful(now):
            linked = self.uplink.linked
            if linked:
                self.state.ask_after(owner.replica if owner.replica in linked else linked[0], owner, now)

    def _beat(self) -> None:
        self._beat_timer = self._loop.call_later(self.settings.spec.heartbeat.interval_seconds, self._beat)
        now = time.monotonic()
        self.workers.observe_memory(now)
        self.workers.monitor.beat(now)
        self.uplink.tick(now)
        if self.uplink.is_fenced:
            self._start_over()
        self.state.tick(now)
        self._ask_after_owners(now)
        self.nested.tick(now)
        self.uplink.broadcast(self._report())
