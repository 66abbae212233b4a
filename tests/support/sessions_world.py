"""Two routers over one store, and capsules whose agents are the real ones but for their sockets: frames travel when the test says so.

Workers are lists: what was read from an inbox runs until the test ends it. `check` says whether what must always hold does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Collection
from typing import Any

from snakepit._ipc.frames import Payload
from snakepit._ipc.worker import CallFrame, Done
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.calls import Calls as AgentCalls
from snakepit_agent.calls.execution import Execution
from snakepit_agent.calls.leasing import Leasing
from snakepit_agent.calls.sessions import Sessions as AgentSessions
from snakepit_agent.calls.stopping import Stopping
from snakepit_agent.link.report import load
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.sessions.releases import rebind
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.model.states import ENDED
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support.simulated_agent import POOL, settings

TOOL = "tool"
REPLICAS = ("one", "two")


class Inbox:
    """A worker's channel: calls that it has not read can be taken back."""

    def __init__(self) -> None:
        self.calls: deque[CallFrame] = deque()

    def deliver(self, call: CallFrame) -> None:
        self.calls.append(call)

    def control(self, *_: object) -> None:
        """What runs does not listen."""

    def drain(self) -> None:
        """It has said everything."""

    def recall(self, ids: Collection[int] | None = None) -> list[int]:
        taken = [call.id for call in self.calls if ids is None or call.id in ids]
        self.calls = deque(call for call in self.calls if call.id not in taken)
        return taken


class Agent:
    """One capsule: the agent's own rooms, and what is on its way to and from each replica."""

    def __init__(self, world: World, name: str, workers: int, slots: int) -> None:
        self.world, self.name, self.slots = world, name, slots
        self.capsules: dict[str, Capsule] = {}
        self.to_agent: dict[str, deque[link_pb2.Frame]] = {each: deque() for each in REPLICAS}
        self.to_router: dict[str, deque[link_pb2.Frame]] = {each: deque() for each in REPLICAS}
        self.linked = set(REPLICAS)
        self.ledger = Ledger(self.flush)
        self.channels: dict[str, Any] = {}
        self.lives = {f"{name}/{n}": f"{name}-{n}-0" for n in range(workers)}
        self.running: dict[int, HeldCall] = {}
        self.processes = self.supervisor = self.lifecycle = self.seats = self
        leasing: Any = Leasing(self.ledger, self, exclusive=False)  # type: ignore[arg-type]
        answers = Answers(self.ledger, self, self, None, self.flush)  # type: ignore[arg-type]
        execution = Execution(self.ledger, self, answers, leasing, MemoryBudget(1 << 30), lambda _: None, lambda: None)  # type: ignore[arg-type]
        stopping = Stopping(self.ledger, self, execution, answers, 5)  # type: ignore[arg-type]
        self.execution, self.stopping = execution, stopping
        self.sessions = AgentSessions(self.ledger, self, self, leasing, execution, stopping)  # type: ignore[arg-type]
        self.calls = AgentCalls(self.ledger, self.sessions, stopping, execution, answers, strict=False)
        self.deaths = 0
        for life in self.lives.values():
            self._open(life)

    def _open(self, life: str) -> None:
        self.ledger.open(life, self.slots)
        self.channels[life] = Inbox()

    # ---- what its rooms ask for

    def send(self, replica: str, frame: link_pb2.Frame) -> bool:
        if replica in self.linked:
            copy = link_pb2.Frame()
            copy.CopyFrom(frame)
            self.to_router[replica].append(copy)
        return replica in self.linked

    def send_result(self, replica: str, frame: link_pb2.Frame, now: float) -> None:
        """Told again when the link is back."""
        copy = link_pb2.Frame()
        copy.CopyFrom(frame)
        self.to_router[replica].append(copy)

    def limit(self, _: str) -> tuple[int, str]:
        return 1 << 30, "none"

    def worker_id(self, incarnation: str) -> str:
        return next((worker for worker, life in self.lives.items() if life == incarnation), "")

    def tell(self, *_: object) -> None: ...
    def ended_a_call(self, _: str) -> None: ...
    def dump(self, _: str) -> None: ...
    def kill(self, *_: str) -> None: ...
    def changed(self) -> None: ...
    def retire(self, *_: object) -> None: ...

    def flush(self) -> None:
        self.ledger.take_touched()
        for replica in sorted(self.linked):
            self.send(replica, load(replica, self.ledger, list(self.ledger.workers), self.worker_id))

    def report(self) -> link_pb2.Frame:
        infos = [
            pool_pb2.Worker(id=worker, incarnation=life, state=pool_pb2.WORKER_STATE_READY, slots=self.slots)
            for worker, life in self.lives.items()
        ]
        return link_pb2.Frame(report=link_pb2.Report(workers=infos))

    # ---- steps

    def receive(self, replica: str) -> None:
        if not self.to_agent[replica]:
            return
        frame = self.to_agent[replica].popleft()
        kind = frame.WhichOneof("kind")
        if kind == "call":
            self.calls.on_call(replica, frame.call)
        elif kind == "cancel":
            self.calls.on_cancel(replica, frame.cancel)
        elif kind == "recall":
            self.calls.on_recall(replica, frame.recall)
        elif kind == "session_release":
            self.sessions.on_release(replica, frame.session_release)

    def read(self) -> None:
        """Workers with a free slot read their inboxes."""
        for life, inbox in self.channels.items():
            while inbox.calls and sum(held.incarnation == life for held in self.running.values()) < self.slots:
                held = self.ledger.calls[inbox.calls.popleft().id]
                self.world.begun(held)
                self.running[held.id] = held

    def finish(self, id_: int) -> None:
        held = self.running.pop(id_)
        self.calls.on_done(held.incarnation, Done(held.id, payload=Payload(b"1"), run_seconds=0.01))

    def die(self, worker: str) -> None:
        self.deaths += 1
        life = self.lives[worker]
        self.running = {id_: held for id_, held in self.running.items() if held.incarnation != life}
        self.execution.worker_died(life, Exit("signal 9", "signal 9"))
        del self.channels[life]
        self.lives[worker] = f"{worker}-{self.deaths}"
        self._open(self.lives[worker])
        for replica in sorted(self.linked):
            self.send(replica, self.report())

    def cut(self, replica: str) -> None:
        """The link breaks: frames that had not arrived are gone, but for results, which are told again."""
        self.linked.discard(replica)
        self.to_agent[replica].clear()
        self.to_router[replica] = deque(frame for frame in self.to_router[replica] if frame.HasField("result"))
        self.calls.replica_unlinked(replica)


class World:
    """Both replicas know all agents at the start."""

    def __init__(self, *, capsules: int = 2, workers: int = 2, slots: int = 1, sessions: int = 2) -> None:
        self.store = MemoryStore()
        self.flows: dict[str, Flow] = {}
        self.fleets: dict[str, Fleet] = {}
        self.names = [f"s{n}" for n in range(sessions)]
        self.calls: list[Call] = []
        self.answers: Counter[str] = Counter()
        self.started: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.came_through: dict[str, str] = {}
        self.epochs: dict[str, int] = {}
        self.rebinds: set[asyncio.Task[Any]] = set()
        for replica in REPLICAS:
            self._add(replica)
        self.agents = [Agent(self, f"c{n}", workers, slots) for n in range(capsules)]
        for agent in self.agents:
            for replica in REPLICAS:
                self._know(replica, agent)

    def _add(self, replica: str) -> None:
        flow = self.flows[replica] = Flow(Telemetry(), Limits(max_payload_bytes=1000), self.store, replica)
        self.fleets[replica] = Fleet(flow, self.store)
        given = settings()
        flow.pools[POOL] = Pool(given, decode_spec(given.spec), flow.clock())

    def _know(self, replica: str, agent: Agent) -> None:
        flow = self.flows[replica]
        capsule = Capsule(agent.name, f"{agent.name}-agent", POOL, "", flow.clock())
        capsule.tools = {TOOL: common_pb2.Tool(name=TOOL)}
        agent.capsules[replica] = capsule
        flow.pools[POOL].capsules[capsule.incarnation] = capsule
        self._link(replica, agent)
        self.fleets[replica].reported(capsule, agent.report().report)

    def _link(self, replica: str, agent: Agent) -> None:
        def send(frame: link_pb2.Frame) -> None:
            copy = link_pb2.Frame()
            copy.CopyFrom(frame)
            agent.to_agent[replica].append(copy)

        self.flows[replica].agents.senders[agent.capsules[replica]] = send

    async def start(self) -> World:
        await self.store.renew_leases(POOL, {f"{agent.name}-agent": 1e9 for agent in self.agents})
        for name in self.names:
            record = SessionRecord(pool=POOL, id=name, uid=f"uid-{name}", created=0, last_used=0, ttl_seconds=1e9, epoch=1)
            await self.store.create_session(record, 1000)
        return self

    # ---- steps

    def submit(self, replica: str, session: str, affinity: common_pb2.Affinity) -> None:
        number = len(self.calls)
        body = link_pb2.Call(id=number, call_id=str(number), pool=POOL, tool=TOOL, session_id=session, affinity=affinity)
        flow = self.flows[replica]
        self.came_through[body.call_id] = replica
        self.calls.append(flow.intake.open(link_pb2.Frame(call=body), self._answered, flow.clock()))

    def _answered(self, call: Call, frame: link_pb2.Frame) -> None:
        self.answers[call.call_id] += 1

    def cancel(self, call: Call) -> None:
        self.flows[self.came_through[call.call_id]].calls.cancel(call)

    def rebind(self, replica: str, session: str) -> None:
        flow = self.flows[replica]
        self.rebinds.add(asyncio.create_task(rebind(flow.sessions, flow.pools[POOL], session)))

    def carry(self, replica: str, agent: Agent) -> None:
        """One frame each way, if the link is there."""
        if replica not in agent.linked:
            return
        agent.receive(replica)
        if agent.to_router[replica]:
            self._take(replica, agent, agent.to_router[replica].popleft())

    def _take(self, replica: str, agent: Agent, frame: link_pb2.Frame) -> None:
        flow, fleet, capsule = self.flows[replica], self.fleets[replica], agent.capsules[replica]
        kind = frame.WhichOneof("kind")
        if kind == "result":
            flow.outcomes.answered(capsule, frame)
            flow.outcomes.give_slots_out()
        elif kind == "reject":
            flow.outcomes.rejected(capsule, frame.reject)
            flow.outcomes.give_slots_out()
        elif kind == "load":
            fleet.loaded_elsewhere(capsule, frame.load)
        elif kind == "report":
            fleet.reported(capsule, frame.report)
        elif kind == "session_released":
            flow.sessions.releases.answered(frame.session_released)

    def cut(self, replica: str, agent: Agent) -> None:
        if replica in agent.linked:
            agent.cut(replica)
            capsule = agent.capsules[replica]
            self.fleets[replica].leave(capsule, self.flows[replica].agents.senders[capsule])

    async def join(self, replica: str, agent: Agent) -> None:
        if replica in agent.linked:
            return
        capsule = agent.capsules[replica]
        self._link(replica, agent)
        untold = [frame.result.id for frame in agent.to_router[replica]]
        running = [call.remote for call in agent.ledger.of_replica(replica)]
        about = link_pb2.Capsule(name=agent.name, incarnation=capsule.incarnation, pool=POOL)
        agent.linked.add(replica)
        await self.fleets[replica].join(
            link_pb2.Hello(role=link_pb2.ROLE_AGENT, capsule=about, running=[*untold, *running]),
            self.flows[replica].agents.senders[capsule],
        )
        agent.send(replica, agent.report())
        agent.flush()

    async def turn(self, seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds)
        for _ in range(8):
            await asyncio.sleep(0)

    # ---- the account

    def begun(self, held: HeldCall) -> None:
        """A tool begins: alone in its session, in its replica's order, under an epoch that is not older than any before."""
        if not held.session_id:
            return
        for agent in self.agents:
            for other in agent.running.values():
                overlaps = other.session_uid == held.session_uid
                fenced = other.stopping and other.session_epoch < held.session_epoch
                assert not overlaps or fenced, f"calls {other.call_id} and {held.call_id} of one session at once"
        began = self.started[self.came_through[held.call_id], held.session_id]
        assert not began or began[-1] < int(held.call_id), f"call {held.call_id} began after {began[-1]}, or twice"
        began.append(int(held.call_id))
        assert held.session_epoch >= self.epochs.get(held.session_uid, 0), "an epoch went back"
        self.epochs[held.session_uid] = held.session_epoch

    def check(self) -> None:
        assert all(count == 1 for count in self.answers.values()), "a call was answered twice"
        for replica, flow in self.flows.items():
            mine = [call for call in self.calls if self.came_through[call.call_id] == replica]
            assert flow.calls.count == sum(not call.answered for call in mine)
            assert flow.pools[POOL].queue.depth == sum(call.is_waiting for call in mine)
            for entry in flow.sessions.entries.values():
                assert len(entry.active) <= 1, "two turns at once"
                assert entry.active <= {call for call in mine if call.session is entry and call.state is not ENDED}
        for agent in self.agents:
            for life, worker in agent.ledger.workers.items():
                assert sum(held.incarnation == life for held in agent.running.values()) <= worker.slots

    async def settle(self) -> None:
        """Everybody gets time, and every link is back: each call must have its one answer, and nothing is left behind."""
        for _ in range(400):
            for agent in self.agents:
                for replica in REPLICAS:
                    await self.join(replica, agent)
                    while agent.to_agent[replica] or agent.to_router[replica]:
                        self.carry(replica, agent)
                agent.read()
                for id_ in list(agent.running):
                    agent.finish(id_)
            await self.turn(0.05)
            if self._is_quiet():
                break
        self.check()
        assert sum(self.answers.values()) == len(self.calls), "a call was never answered"
        for agent in self.agents:
            assert not len(agent.sessions.turns), "a call waits for its turn for ever"
            assert not agent.ledger.calls
            assert not any(worker.unanswered for worker in agent.ledger.workers.values())
        for flow in self.flows.values():
            assert all(not entry.active and not entry.waiting for entry in flow.sessions.entries.values())

    def _is_quiet(self) -> bool:
        open_ = any(flow.calls.count for flow in self.flows.values())
        inflight = any(capsule.inflight for agent in self.agents for capsule in agent.capsules.values())
        frames = any(agent.to_agent[replica] or agent.to_router[replica] for agent in self.agents for replica in REPLICAS)
        return not (open_ or inflight or frames)

    async def stop(self) -> None:
        for task in self.rebinds:
            task.cancel()
        await asyncio.gather(*self.rebinds, return_exceptions=True)
        for flow in self.flows.values():
            await flow.stop()
