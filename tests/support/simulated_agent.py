"""An agent without a capsule: speaks LinkService to a control plane over a real channel, and answers calls as a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from snakepit import Pool
from snakepit._wire import Dialer, Link
from snakepit._wire.dial import Lanes, Replica
from snakepit._wire.token import Token
from snakepit._wire.trust import Trust
from snakepit.errors import SnakepitError
from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, pool_pb2_grpc

from .simulated_slots import Slots
from .simulated_tools import TOOLS, Tool

POOL = "default/test"
OBSERVER_TOKEN = "whoever-looks-at-workers"
"""Of a replica that asks for tokens, if its test lets this one look at its workers."""
OBSERVER = (("authorization", f"Bearer {OBSERVER_TOKEN}"),)


def pool_spec(**sections: object) -> SnakePoolSpec:
    """A spec with defaults; `queue={"maxSize": 1}` and the like as in a pool file."""
    return msgspec.convert({"worker": {"adapter": "tests.tools:Tools"}, **sections}, SnakePoolSpec)


def settings(pool: str = POOL, *, generation: int = 1, uid: str = "uid-1", **sections: object) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=pool, uid=uid, generation=generation, spec=encode_spec(pool_spec(**sections)))


@dataclass
class SimulatedAgent:
    """`workers` workers of `slots` slots, which an agent's own ledger counts: it refuses what is too much.

    `calls` has every Call frame that it took, `running` what is not answered of these. `on_call` gets each that arrives: a test that has
    something else done with calls puts its own there. `heeds_cancels`: or its tools are of those that don't notice.
    """

    address: str
    name: str = "capsule-0"
    pool: str = POOL
    workers: int = 1
    slots: int = 1
    settings: link_pb2.PoolSettings | None = None
    tools: dict[str, Tool] = field(default_factory=lambda: dict(TOOLS))
    idempotent: frozenset[str] = frozenset()
    beat_seconds: float = 0.2
    state: pool_pb2.WorkerState = pool_pb2.WORKER_STATE_READY
    reason: str = ""
    message: str = ""
    ended: str = ""
    protocol: int = 0
    pod_uid: str = ""
    node: str = ""
    tells_log_lines: bool = True
    token_file: Path | None = None
    trust: Trust | None = None

    def __post_init__(self) -> None:
        self.incarnation = secrets.token_hex(4)
        self.lives = {f"{self.name}/{index}": secrets.token_hex(4) for index in range(self.workers)}
        self.calls: list[link_pb2.Call] = []
        self._held = Slots(self.slots)
        self.running: dict[int, tuple[link_pb2.Call, asyncio.Task[None]]] = {}
        self.most_running: dict[str, int] = {}
        self.cancelled: list[link_pb2.Cancel] = []
        self.frames: list[link_pb2.Frame] = []
        self.gate = asyncio.Event()
        self.linked = asyncio.Event()
        self.replica: Replica | None = None
        self.silent = False  # Nothing that it says gets through.
        self.heeds_cancels = True
        self.on_log_lines: Callable[[link_pb2.LogLinesRequest], None] = self.tell_nothing
        self.on_call: Callable[[link_pb2.Call], None] = self.take
        self.draining = self.told_to_drain = False
        self.hello_running: list[int] = []
        self._sequence = 0
        self._beats: asyncio.Task[None] | None = None
        self.token = Token(self.token_file)
        self._dialer = Dialer(
            self.address,
            self._hello,
            self._on_frames,
            self._on_open,
            self._on_close,
            metadata=self.token.metadata,
            lanes=Lanes.NEEDED,
            trust=self.trust,
        )
        self._state_replies: dict[int, asyncio.Future[link_pb2.StateReply]] = {}

    # ---- life

    def dial(self) -> None:
        """Begin to; whether it links is for the test to see."""
        self._dialer.start()

    async def start(self, patience: float = 20) -> SimulatedAgent:
        self.dial()
        async with asyncio.timeout(patience):
            await self.linked.wait()
            while not await self._is_known():
                await asyncio.sleep(0.005)
        self._beats = asyncio.create_task(self._beat_forever())
        return self

    async def _is_known(self) -> bool:
        """Has the replica taken the first report in?"""
        if self.replica is None:
            return False
        request = pool_pb2.ListWorkersRequest(pool=self.pool)
        try:
            known = await pool_pb2_grpc.PoolServiceStub(self.replica.channel).ListWorkers(request, metadata=OBSERVER)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return False  # The link has broken, which ends what is asked over its channel; the dialer opens another.
        return set(self.lives.values()) <= {worker.incarnation for worker in known.workers}

    async def stop(self) -> None:
        if self._beats is not None:
            self._beats.cancel()
        await self._dialer.stop()
        tasks = [task for _, task in self.running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def refused(self) -> SnakepitError | None:
        """Why its last dial failed."""
        return self._dialer.last_error

    def learn(self, seconds: float, *tools: str) -> None:
        """As if these had always taken so long here: the agent, too, estimates what it lets wait."""
        self._held.learn(seconds, *tools)

    def let_go(self) -> None:
        self.gate.set()

    def break_link(self) -> None:
        """Close the link; the dialer opens another."""
        assert self.replica is not None
        self.replica.link.close("broken by the test")

    def replace_worker(self, worker: str, reason: str = "Crashed") -> None:
        """The worker has died and another life began; the caller of what it ran is told."""
        old, self.lives[worker] = self.lives[worker], secrets.token_hex(4)
        self.reason = reason
        for call, task in list(self.running.values()):
            if call.incarnation == old:
                task.cancel()
                error = common_pb2.Error(
                    reason="WORKER_LOST", message="signal 9", started=common_pb2.STARTED_MAYBE, details={"how": "signal 9"}
                )
                self._answer(call, link_pb2.Result(error=error))
        self._held.remove(old)
        self.report()

    # ---- frames out

    def send(self, **frame: object) -> None:
        if self.replica is not None and self.replica.link.is_open:
            self.replica.link.send(link_pb2.Frame(**frame))  # type: ignore[arg-type]

    def report(self) -> None:
        self._sequence += 1
        workers = [
            pool_pb2.Worker(
                id=worker,
                incarnation=life,
                state=self.state,
                slots=self.slots,
                reason=self.reason,
                message=self.message,
                pid=1,
                ended=self.ended,
            )
            for worker, life in self.lives.items()
        ]
        report = link_pb2.Report(sequence=self._sequence, workers=workers, draining=self.draining, told_to_drain=self.told_to_drain)
        self.send(report=report)

    def offer(self) -> None:
        offered = [
            common_pb2.Tool(name=name, input_schema="{}", streaming=name == "count", idempotent=name in self.idempotent)
            for name in self.tools
        ]
        self.send(offer=link_pb2.Offer(tools=offered, description="Simulated."))

    async def ask_state(self, call: link_pb2.Call, **operation: object) -> link_pb2.StateReply:
        """A state operation of a running call."""
        assert self.replica is not None
        request_id = self.replica.link.next_id()
        answer: asyncio.Future[link_pb2.StateReply] = asyncio.get_running_loop().create_future()
        self._state_replies[request_id] = answer
        request = link_pb2.StateRequest(
            id=request_id,
            pool=call.pool,
            session_id=call.session_id,
            session_uid=call.session_uid,
            session_epoch=call.session_epoch,
            **operation,  # type: ignore[arg-type]
        )
        self.send(state_request=request)
        async with asyncio.timeout(20):
            return await answer

    async def pipe(self, call: link_pb2.Call, chunks: Sequence[link_pb2.Chunk]) -> int:
        """Send a stream's chunks, one a message; how many of them were taken."""
        assert self.replica is not None
        assert self.replica.bulk is not None
        bulk = await self.replica.bulk.open()
        taken = 0
        for number, chunk in enumerate(chunks):
            await bulk.write(link_pb2.FromAgent(id=0 if number else call.id, chunks=[chunk]).SerializeToString())
            if await bulk.read() is None:
                break
            taken += 1
        await bulk.done_writing()
        bulk.release()
        return taken

    # ---- frames in

    def _hello(self, address: str) -> link_pb2.Hello:
        capsule = link_pb2.Capsule(
            name=self.name,
            incarnation=self.incarnation,
            pool=self.pool,
            pod_uid=self.pod_uid,
            node=self.node,
            tells_log_lines=self.tells_log_lines,
            settings=self.settings or settings(self.pool),
        )
        running = [*self.running, *self.hello_running]
        return link_pb2.Hello(protocol=self.protocol, role=link_pb2.ROLE_AGENT, version="simulated", capsule=capsule, running=running)

    def _on_open(self, replica: Replica) -> None:
        self.replica = replica
        send = replica.link.send  # The link asks by itself whether its other end is there, so silence begins below it.
        replica.link.send = lambda frame: None if self.silent else send(frame)  # type: ignore[method-assign]
        self.offer()
        self.report()
        self.linked.set()

    def _on_close(self, replica: Replica, reason: str) -> None:
        self.replica = None
        self.linked.clear()

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        for frame in frames:
            self.frames.append(frame)
            kind = frame.WhichOneof("kind")
            if kind == "call":
                self.on_call(frame.call)
            elif kind == "cancel":
                self.cancelled.append(frame.cancel)
                if self.heeds_cancels:
                    self.cancel(frame.cancel.id)
            elif kind == "session_release":
                self._release(frame.session_release)
            elif kind == "state_reply":
                self._state_replies.pop(frame.state_reply.id).set_result(frame.state_reply)
            elif kind == "log_lines_request":
                self.on_log_lines(frame.log_lines_request)
            elif kind == "ping":
                link.pass_over(frame)

    def tell_nothing(self, asked: link_pb2.LogLinesRequest) -> None:
        """Nothing was said here."""
        self.send(log_lines_reply=link_pb2.LogLinesReply(id=asked.id))

    def cancel(self, call_id: int) -> None:
        """A running call ends as its tool would that notices."""
        if call_id in self.running:
            call, task = self.running[call_id]
            task.cancel()
            self._answer(call, link_pb2.Result(error=common_pb2.Error(reason="CANCELLED", message="", started=common_pb2.STARTED_YES)))

    def _release(self, ask: link_pb2.SessionRelease) -> None:
        """A session goes when no call of it runs here; `force` ends those that do."""
        for call, task in list(self.running.values()):
            if ask.force and call.session_uid == ask.session_uid:
                task.cancel()
                error = common_pb2.Error(reason="STALE_EPOCH", message="moved", started=common_pb2.STARTED_YES)
                self._answer(call, link_pb2.Result(error=error))
        released = not any(call.session_uid == ask.session_uid for call, _ in self.running.values())
        if released or not ask.wait:
            body = link_pb2.SessionReleased(session_uid=ask.session_uid, session_epoch=ask.session_epoch, released=released, look=ask.look)
            self.send(session_released=body)

    def take(self, call: link_pb2.Call) -> None:
        """Run it, or refuse it."""
        self.calls.append(call)
        if self.lives.get(call.worker) != call.incarnation:
            self.send(reject=link_pb2.Reject(id=call.id, reason="WORKER_GONE"))
            return
        replica = self.replica.id if self.replica is not None else ""
        if reason := self._held.take(call, replica, asyncio.get_running_loop().time()):
            self.send(reject=link_pb2.Reject(id=call.id, reason=reason))
            return
        task = asyncio.create_task(self._run(call))
        self.running[call.id] = (call, task)
        here = sum(other.worker == call.worker for other, _ in self.running.values())
        self.most_running[call.worker] = max(here, self.most_running.get(call.worker, 0))

    async def _run(self, call: link_pb2.Call) -> None:
        result = await self.tools[call.tool](self, call)
        self._answer(call, result)

    def _answer(self, call: link_pb2.Call, result: link_pb2.Result) -> None:
        self.running.pop(call.id, None)
        self._held.drop(call.id, result.run_seconds, asyncio.get_running_loop().time())
        result.id, result.call_id, result.worker, result.incarnation = call.id, call.call_id, call.worker, call.incarnation
        self.send(result=result)
        if self._held.owe_word():
            self.report()

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(self.beat_seconds)
            self.report()


async def take_turns(pool: Pool, first: SimulatedAgent, second: SimulatedAgent) -> None:
    """Call until the client is linked to the replicas of both agents, and its next call is the first one's. They forget these calls."""
    last = first
    async with asyncio.timeout(20.0):
        while last is first or not first.calls:
            before = len(second.calls)
            await pool.call("echo", {}, timeout=10)
            last = second if len(second.calls) > before else first
    for agent in (first, second):
        agent.calls.clear()


@contextlib.asynccontextmanager
async def simulated_agent(address: str, **options: object) -> AsyncIterator[SimulatedAgent]:
    agent = SimulatedAgent(address, **options)  # type: ignore[arg-type]
    try:
        yield await agent.start()
    finally:
        await agent.stop()
