"""A router with its queue, its sessions and a store, and simulated agents behind frames that travel when the test says so.

The test takes steps (a call, an answer, a death, some time); after each, `check` says whether everything that must always hold does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import MOST_LEGS, Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.model.states import RESERVED
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support.simulated_agent import POOL
from support.simulated_agent import settings as pool_settings

QUICK, SLOW, RARE = "quick", "slow", "rare"
SECONDS = {QUICK: 0.00005, SLOW: 0.05, RARE: 0.05}
AHEAD = 2


@dataclass
class Life:
    """One life of one worker: what it runs, what waits in its inbox, and slots that calls of another replica have."""

    worker: str
    incarnation: str
    slots: int
    running: dict[int, link_pb2.Call] = field(default_factory=dict)
    inbox: deque[link_pb2.Call] = field(default_factory=deque)
    elsewhere: int = 0
    refused: bool = False
    """The router knows that a call was refused here, and has heard nothing since."""

    @property
    def held(self) -> int:
        return len(self.running) + len(self.inbox) + self.elsewhere


class Agent:
    """One capsule. What it sends, and what is sent to it, waits in `to_router` and `to_agent` until it is carried."""

    def __init__(self, world: World, name: str, workers: int, slots: int, tools: Iterable[str]) -> None:
        self.world = world
        self.capsule = Capsule(name, f"{name}-agent", POOL, "", 0.0)
        self.capsule.tools = {tool: common_pb2.Tool(name=tool) for tool in tools}
        self.slots = slots
        self.lives = [Life(f"{name}/{n}", f"{name}-{n}-0", slots) for n in range(workers)]
        self.to_agent: deque[link_pb2.Frame] = deque()
        self.to_router: deque[link_pb2.Frame] = deque()
        self.deaths = 0

    # ---- frames

    def send(self, frame: link_pb2.Frame) -> None:
        """The router's end of the link."""
        if frame.WhichOneof("kind") == "call":
            life = self.life(frame.call.incarnation)
            # A session's call may have had its slot reserved before.
            quiet = frame.call.session_id or life is None or not life.refused
            assert quiet, "a worker that refused a call got another one, though nothing was heard of it"
            assert frame.call.tool in self.capsule.tools
            self.world.sent[frame.call.call_id] += 1
        self.to_agent.append(frame)

    def life(self, incarnation: str) -> Life | None:
        return next((each for each in self.lives if each.incarnation == incarnation), None)

    def receive(self) -> None:
        frame = self.to_agent.popleft()
        kind = frame.WhichOneof("kind")
        if kind == "call":
            self._call(frame.call)
        elif kind == "cancel":
            self._cancel(frame.cancel.id)
        elif kind == "recall":
            for id_ in (frame.recall.id, *frame.recall.others):
                self._give_back(id_, "RECALLED")

    def _call(self, call: link_pb2.Call) -> None:
        life = self.life(call.incarnation)
        if life is None:
            self._reject(call.id, "WORKER_GONE")
        elif life.held >= life.slots + (AHEAD if call.tool == QUICK else 0):
            self._reject(call.id, "NO_SLOT")
        else:
            life.inbox.append(call)
            self.advance(life)

    def _cancel(self, id_: int) -> None:
        """What runs goes on: its tool doesn't notice."""
        for life in self.lives:
            for call in [call for call in life.inbox if call.id == id_]:
                life.inbox.remove(call)
                self._answer(call, error=common_pb2.Error(reason="CANCELLED", started=common_pb2.STARTED_NO))

    def _give_back(self, id_: int, reason: str) -> None:
        for life in self.lives:
            for call in [call for call in life.inbox if call.id == id_]:
                life.inbox.remove(call)
                self._reject(id_, reason)
                self.tell_loads()

    def _reject(self, id_: int, reason: str) -> None:
        self.to_router.append(link_pb2.Frame(reject=link_pb2.Reject(id=id_, reason=reason)))

    def _answer(self, call: link_pb2.Call, **outcome: object) -> None:
        result = link_pb2.Result(id=call.id, call_id=call.call_id, run_seconds=SECONDS[call.tool], **outcome)  # type: ignore[arg-type]
        self.to_router.append(link_pb2.Frame(result=result))

    def tell_loads(self) -> None:
        loads = [link_pb2.Load.WorkerLoad(worker=e.worker, incarnation=e.incarnation, elsewhere=e.elsewhere) for e in self.lives]
        self.to_router.append(link_pb2.Frame(load=link_pb2.Load(workers=loads)))

    def report(self) -> link_pb2.Frame:
        infos = [
            pool_pb2.Worker(id=e.worker, incarnation=e.incarnation, state=pool_pb2.WORKER_STATE_READY, slots=self.slots) for e in self.lives
        ]
        return link_pb2.Frame(report=link_pb2.Report(workers=infos))

    # ---- its workers

    def advance(self, life: Life) -> None:
        while life.inbox and len(life.running) + life.elsewhere < life.slots:
            call = life.inbox.popleft()
            life.running[call.id] = call
            self.world.begun(call)

    def finish(self, life: Life, id_: int, *, well: bool = True) -> None:
        call = life.running.pop(id_)
        self.world.ended(call)
        outcome = {"payload": common_pb2.Payload(data=b"1")} if well else {"tool_error": common_pb2.ToolError(type="E")}
        self._answer(call, **outcome)
        self.tell_loads()
        self.advance(life)

    def other_replica(self, life: Life, taken: int) -> None:
        """Another replica's calls there come or go; its own count of them is the agent's."""
        life.elsewhere = min(taken, life.slots - len(life.running))
        self.tell_loads()
        self.advance(life)

    def die(self, life: Life) -> None:
        """The worker dies: what it ran is lost, what it had not begun goes back, and another life begins."""
        self.deaths += 1
        for call in life.inbox:
            self._reject(call.id, "WORKER_GONE")
        for call in life.running.values():
            self.world.ended(call)
            self._answer(call, error=common_pb2.Error(reason="WORKER_LOST", started=common_pb2.STARTED_MAYBE))
        number = self.lives.index(life)
        self.lives[number] = Life(life.worker, f"{life.worker}-{self.deaths}", self.slots)
        self.to_router.append(self.report())

    def crowded(self) -> None:
        """What the agent does when a worker ends nothing for 5 ms."""
        for life in self.lives:
            for call in list(life.inbox):
                self._give_back(call.id, "RECALLED")


class World:
    """All agents are linked and all workers ready at the start. `mixed`: only the first capsule offers the tool RARE, as during a rollout.

    `spec`: sections of the pool's spec.
    """

    def __init__(
        self,
        telemetry: Telemetry | None = None,
        *,
        capsules: int = 2,
        workers: int = 2,
        slots: int = 1,
        sessions: int = 0,
        mixed: bool = False,
        **spec: object,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = MemoryStore(self.loop.time)
        self.flow = Flow(telemetry or Telemetry(), Limits(max_payload_bytes=1000), self.store, "replica")
        self.fleet = Fleet(self.flow, self.store)
        settings = pool_settings(**spec)
        self.pool = Pool(settings, decode_spec(settings.spec), 0.0)
        self.flow.pools[POOL] = self.pool
        offers = [[QUICK, SLOW] if mixed and n else [QUICK, SLOW, RARE] for n in range(capsules)]
        self.agents = [Agent(self, f"c{n}", workers, slots, offers[n]) for n in range(capsules)]
        for agent in self.agents:
            self.pool.capsules[agent.capsule.incarnation] = agent.capsule
            self.flow.agents.senders[agent.capsule] = agent.send
            self.fleet.reported(agent.capsule, agent.report().report)
        self.sessions = [f"s{n}" for n in range(sessions)]
        self.calls: list[Call] = []
        self.answers: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.outcomes: dict[str, str] = {}
        self.begins: list[str] = []
        self.spells: dict[str, str] = {}
        self.epochs: dict[str, int] = {}

    async def start(self) -> World:
        for name in self.sessions:
            record = SessionRecord(pool=POOL, id=name, uid=f"uid-{name}", created=0, last_used=0, ttl_seconds=1e9, epoch=0)
            await self.store.create_session(record, 1000)
        return self

    def learn_quick(self) -> None:
        """Both tools' durations are known."""
        for tool, seconds in SECONDS.items():
            self.pool.learn(tool, seconds)

    # ---- steps

    def submit(self, tool: str = SLOW, caller: str = "a", *, timeout: float = 0.0, **fields: object) -> Call:
        name = f"call {len(self.calls)}"
        frame = link_pb2.Frame(
            call=link_pb2.Call(id=len(self.calls), call_id=name, pool=POOL, tool=tool, timeout_seconds=timeout, **fields)  # type: ignore[arg-type]
        )
        call = self.flow.intake.open(frame, self._answered, self.flow.clock(), who=Caller(caller))
        self.calls.append(call)
        return call

    def _answered(self, call: Call, frame: link_pb2.Frame) -> None:
        self.answers[call.call_id] += 1
        kind = frame.result.WhichOneof("outcome")
        self.outcomes[call.call_id] = frame.result.error.reason if kind == "error" else str(kind)

    def carry(self, agent: Agent) -> None:
        """One frame each way, if there is one."""
        if agent.to_agent:
            agent.receive()
        if agent.to_router:
            self._take(agent, agent.to_router.popleft())

    def _take(self, agent: Agent, frame: link_pb2.Frame) -> None:
        kind = frame.WhichOneof("kind")
        if kind == "result":
            self._heard(agent, agent.capsule.inflight.get(frame.result.id), refused=False)
            self.flow.outcomes.answered(agent.capsule, frame)
            self.flow.outcomes.give_slots_out()
        elif kind == "reject":
            self._heard(agent, agent.capsule.inflight.get(frame.reject.id), refused=True)
            self.flow.outcomes.rejected(agent.capsule, frame.reject)
            self.flow.outcomes.give_slots_out()
        elif kind == "load":
            for life in agent.lives:
                life.refused = False
            self.fleet.loaded_elsewhere(agent.capsule, frame.load)
        else:
            for life in agent.lives:
                life.refused = False
            self.fleet.reported(agent.capsule, frame.report)

    def _heard(self, agent: Agent, call: Call | None, *, refused: bool) -> None:
        life = None if call is None or call.worker is None else agent.life(call.worker.incarnation)
        if life is not None:
            life.refused = refused

    def carry_all(self) -> None:
        while any(agent.to_agent or agent.to_router for agent in self.agents):
            for agent in self.agents:
                self.carry(agent)

    def lives(self) -> list[tuple[Agent, Life]]:
        return [(agent, life) for agent in self.agents for life in agent.lives]

    def running(self) -> list[tuple[Agent, Life, int]]:
        return [(agent, life, id_) for agent, life in self.lives() for id_ in life.running]

    async def turn(self, seconds: float = 0.0) -> None:
        """Let tasks and timers go on for so long."""
        await asyncio.sleep(seconds)
        for _ in range(8):
            await asyncio.sleep(0)

    # ---- what the agents tell the account

    def begun(self, call: link_pb2.Call) -> None:
        assert call.call_id not in self.begins, f"{call.call_id} runs twice"
        self.begins.append(call.call_id)
        if call.session_id:
            assert call.session_id not in self.spells, f"two calls of {call.session_id} at once"
            self.spells[call.session_id] = call.call_id
            assert call.session_epoch >= self.epochs.get(call.session_id, 0), "an epoch went back"
            self.epochs[call.session_id] = call.session_epoch

    def ended(self, call: link_pb2.Call) -> None:
        if call.session_id:
            del self.spells[call.session_id]

    # ---- what must always hold

    def check(self) -> None:
        queue = self.pool.queue
        assert all(count == 1 for count in self.answers.values()), "a call was answered twice"
        assert queue.depth == sum(call.is_waiting for call in self.calls)
        assert queue.depth <= queue.max_size + sum(
            call.place.requeued for call in self.calls if call.place is not None and call.place.counted
        )
        assert self.flow.calls.count == sum(not call.answered for call in self.calls)
        assert list(self.flow.calls.unanswered) == [call for call in self.calls if not call.answered]
        assert len(queue.everybody()) == sum(call.place is not None and call.place.line is not None for call in self.calls)
        for _, life in self.lives():
            assert len(life.running) + life.elsewhere <= life.slots, "more calls than slots"
        self._check_counts()
        self._check_nobody_waits_in_vain()
        self._check_callers()

    def _check_counts(self) -> None:
        for agent in self.agents:
            inflight = agent.capsule.inflight
            for worker in agent.capsule.workers.values():
                mine = sum(call.worker is worker for call in inflight.values())
                bound = sum(call.worker is worker and call.state is RESERVED for call in self.calls)
                assert worker.own in (mine, mine + bound), (worker.id, worker.own, mine, bound)

    def _check_nobody_waits_in_vain(self) -> None:
        free = [worker for worker in self.pool.workers.values() if worker.has_room and worker.resting_until <= self.flow.clock() - 0.002]
        for call in self.pool.queue.anybody:
            assert not any(call.tool in worker.capsule.tools for worker in free), "a call waits though a slot is free"
        for worker, line in self.pool.queue.pinned.items():
            assert not (worker.has_room and line), "a call waits for its worker, which has a free slot"

    def _check_callers(self) -> None:
        limit = self.pool.callers.limit
        if limit:
            held = {call for agent in self.agents for call in agent.capsule.inflight.values()}
            refused = {call for call in self.calls if self.outcomes.get(call.call_id) == "CALLER_LIMIT"}
            open_ = Counter(call.request.caller for call in self.calls if call in held or not (call.answered or call in refused))
            assert all(count <= limit for count in open_.values())
            assert len(self.pool.callers) == len(open_)

    def _check_records(self) -> None:
        """Each call has one, and it says how often the call was sent, and when it waited. Strangers may have called, too."""
        taken = {call.call_id for call in self.calls if call.pool is not None and call.answered}
        kept = [each for each in self.pool.records or () if each.call_id in taken]
        records = {each.call_id: each for each in kept}
        assert len(kept) == len(records) == len(taken)
        for each in records.values():
            if len(each.legs) < MOST_LEGS:
                assert sum(leg.was_sent for leg in each.legs) == self.sent[each.call_id]
            assert each.sent_before + each.legs[-1].was_sent == self.sent[each.call_id]
            assert all(leg.queue_seconds >= 0 for leg in each.legs)
            assert sum(leg.queue_seconds for leg in each.legs) <= each.seconds + 1e-6
            assert [leg.ended for leg in each.legs] == sorted(leg.ended for leg in each.legs)

    async def settle(self) -> None:
        """Everybody gets time: every call must have its one answer, and nothing may be left behind."""
        for _ in range(300):
            for agent, life in self.lives():
                agent.other_replica(life, 0)
            for agent, life, id_ in self.running():
                agent.finish(life, id_)
            self.carry_all()
            await self.turn(0.01)
            if not self.flow.calls.count and not any(agent.capsule.inflight for agent in self.agents):
                break
        self.check()
        assert sum(self.answers.values()) == len(self.calls), "a call was never answered"
        self._check_records()
        assert self.pool.queue.depth == 0
        assert not len(self.pool.callers)
        assert all(worker.own == 0 and worker.backlog == 0 for worker in self.pool.workers.values())
        assert not self.flow.calls.deadlines.wheel

    async def stop(self) -> None:
        await self.flow.stop()
