"""The stages of a call put together, and what workers say and how they die, passed on to whom it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from snakepit._ipc import worker as worker_ipc
from snakepit.spec import SnakePoolSpec
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.calls import Calls
from snakepit_agent.calls.execution import Execution, FindRoute
from snakepit_agent.calls.leasing import Leasing
from snakepit_agent.calls.nested import NestedCalls
from snakepit_agent.calls.sessions import Sessions
from snakepit_agent.calls.state import StateForwarder
from snakepit_agent.calls.stopping import Stopping
from snakepit_agent.calls.streams import Streams
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_agent.settings import Settings
from snakepit_agent.workers.supervisor import Supervisor


class Pipeline:
    """`route` finds a call's way to its replica for what is large; `flush` tells the replicas at once which slots are taken.

    `work_came` is called when there is a call where there may have been none.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        supervisor: Supervisor,
        uplink: Uplink,
        route: FindRoute,
        flush: Callable[[], None],
        work_came: Callable[[], None],
    ) -> None:
        spec, processes = settings.spec, supervisor.processes
        self._ledger = ledger
        self._uplink = uplink
        self._idle_seconds = spec.call.stream_idle_seconds
        self.budget = MemoryBudget(settings.large_bytes)
        self.streams = Streams(
            self.budget,
            route,
            processes.tell,
            uplink.send,
            uplink.send_result,
            self._consumer_went,
            self._tool_idles,
            self._budget_changed,
        )
        self.answers = Answers(ledger, uplink, processes, self.streams, flush)
        self.leasing = Leasing(ledger, supervisor, exclusive=spec.worker.exclusive)
        self.execution = Execution(ledger, supervisor, self.answers, self.leasing, self.budget, route, work_came)
        self.stopping = Stopping(ledger, supervisor, self.execution, self.answers, spec.drain.kill_after_seconds)
        self.sessions = Sessions(ledger, uplink, processes, self.leasing, self.execution, self.stopping)
        self.calls = Calls(ledger, self.sessions, self.stopping, self.execution, self.answers, strict=spec.affinity != "hint")
        self.state = StateForwarder(settings.pool, uplink.send, processes.tell, self.leasing.session_left)
        self.nested = NestedCalls(uplink.send, processes.tell, uplink.inline_limit, settings.max_nested_calls)

    def configure(self, spec: SnakePoolSpec) -> None:
        """The pool's settings are others: calls that come, and what they do from now on, go by them."""
        self._idle_seconds = spec.call.stream_idle_seconds
        self.stopping.kill_after = spec.drain.kill_after_seconds
        self.calls.strict = spec.affinity != "hint"

    async def close(self) -> None:
        """Give up on what is still on its way."""
        await self.execution.arguments.close()
        await self.streams.close()

    def replica_unlinked(self, replica: str) -> None:
        """The link to that replica has broken."""
        self.calls.replica_unlinked(replica)
        self.state.replica_unlinked(replica)
        self.nested.replica_unlinked(replica)

    def beat(self, now: float) -> None:
        """Look once a heartbeat after what others may have forgotten."""
        self.state.tick(now)
        for lease in self.leasing.leases.doubtful(now):
            if linked := self._uplink.linked:
                self.state.ask_after(lease.replica if lease.replica in linked else linked[0], lease, now)
        self.nested.tick(now)

    # ---- from the workers

    def worker_said(self, incarnation: str, said: Sequence[worker_ipc.FromWorker]) -> None:
        """In the order in which it was said. Raises WorkerLies."""
        for frame in said:
            if type(frame) is worker_ipc.Done:
                self.calls.on_done(incarnation, frame)
            elif type(frame) is worker_ipc.ChunkFrame:
                self.calls.on_chunk(incarnation, frame)
            else:
                self._on_rare(incarnation, frame)

    def _on_rare(self, incarnation: str, frame: worker_ipc.FromWorker) -> None:
        match frame:
            case worker_ipc.StateOperation():
                if (call := self.calls.of(incarnation, frame.id)) is not None:
                    self.state.request(call, frame, time.monotonic())
            case worker_ipc.ToolCall():
                self.nested.asked(self.calls.of(incarnation, frame.id), incarnation, frame, time.monotonic())
            case worker_ipc.ToolTaken():
                self.nested.taken(incarnation, frame)
            case worker_ipc.ToolDropped():
                self.nested.dropped(incarnation, frame)
            case worker_ipc.Begin():
                self.calls.on_begin(incarnation, frame)
            case worker_ipc.ProgressFrame():
                self.calls.on_progress(incarnation, frame)

    def worker_died(self, incarnation: str, exit_: Exit) -> None:
        """Its death is proven; its channel is still there."""
        self.execution.worker_died(incarnation, exit_)
        self.state.worker_died(incarnation)
        self.nested.worker_died(incarnation)
        self.leasing.leases.forget(incarnation)

    # ---- from the streams

    def _consumer_went(self, held: HeldCall) -> None:
        """The tool is to stop, and its slot is free when it has."""
        self.stopping.stop_once(held, "CANCELLED")

    def _tool_idles(self, held: HeldCall) -> None:
        self.stopping.idle(held, self._idle_seconds)

    def _budget_changed(self) -> None:
        if self.budget.is_shut != self._ledger.shut:
            self._ledger.set_shut(self.budget.is_shut)
