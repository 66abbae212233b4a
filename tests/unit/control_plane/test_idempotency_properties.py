"""Whatever callers, replicas, workers and the store do: under a key the tool is started once, and all hear the same. By hypothesis."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit.errors import StoreUnavailable
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.idempotency.upkeep import RENEW_SECONDS
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.store.claims import ClaimState, Found, MemoryClaims, Run
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support.simulated_agent import POOL
from support.simulated_agent import settings as pool_settings
from support.virtual_time import run as run_on_virtual_clock

REPLICAS, KEYS, SLOTS = 2, 2, 2
LEASE = 5.0
LOST = b"lost"


# ---- the claims themselves


class Model:
    """One key, as it should be."""

    def __init__(self) -> None:
        self.now = 0.0
        self.claims = MemoryClaims(lambda: self.now)
        self.owner: Run | None = None
        self.outcome = b""
        self.leases: dict[str, float] = {}

    async def claim(self, run: Run) -> None:
        found = await self.claims.claim(run, lease_seconds=LEASE, keep_seconds=1e6, lost=LOST)
        if not self.outcome and (self.owner is None or self.owner.replica == run.replica):
            assert found == Found(ClaimState.OURS)
            self.owner, self.leases[run.replica] = run, self.now + LEASE
            return
        if not self.outcome and self.owner is not None and self.leases[self.owner.replica] > self.now:
            assert found == Found(ClaimState.RUNNING)
            return
        self.outcome = self.outcome or LOST
        assert found == Found(ClaimState.DONE, self.outcome)

    async def finish(self, run: Run) -> None:
        ours = self.owner in (run, None)
        assert await self.claims.finish(run, run.id.encode(), 1e6) is ours
        if ours:
            self.owner, self.outcome = run, run.id.encode()

    async def release(self, run: Run) -> None:
        await self.claims.release(run)
        if self.owner == run and not self.outcome:
            self.owner = None

    async def hold(self, run: Run) -> None:
        assert await self.claims.hold(POOL, run.replica, LEASE) is (run.replica in self.leases)
        self.leases[run.replica] = self.now + LEASE

    async def sleep(self, run: Run) -> None:
        self.now += 2.0


OPERATIONS = {"claim": Model.claim, "finish": Model.finish, "release": Model.release, "hold": Model.hold, "sleep": Model.sleep}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*OPERATIONS, "claim"]), st.integers(0, 2), st.integers(0, 1)), max_size=40))
def test_a_key_is_granted_once_until_it_is_released_and_its_outcome_stays(steps: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        model = Model()
        for name, replica, number in steps:
            await OPERATIONS[name](model, Run(POOL, "key", "digest", f"replica-{replica}", f"run-{replica}-{number}"))

    asyncio.run(play())


# ---- everything above them, with everything going wrong


class Flaky:
    """Claims of a store that may be away, and may then have done what it was asked."""

    def __init__(self, claims: MemoryClaims) -> None:
        self.claims = claims
        self.away = False
        self.acts = False
        # Of these operations alone the answer is lost.
        self.unanswered: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.claims, name)

        async def asked(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            if self.away and not self.acts:
                raise StoreUnavailable("away")
            answer = await operation(*args, **kwargs)
            await asyncio.sleep(0)
            if self.away or name in self.unanswered:
                raise StoreUnavailable("away, but it has happened")
            return answer

        return operation if name == "watch" else asked


class Connection:
    """A replica's: what it has asked for happens, also when it has died; but then no answer comes."""

    def __init__(self, claims: Flaky) -> None:
        self._claims = claims
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._claims, name)

        async def asked(*args: Any, **kwargs: Any) -> Any:
            try:
                return await operation(*args, **kwargs)
            finally:
                if self.dead:
                    await asyncio.Event().wait()

        return operation if name == "watch" else asked


class Replica:
    """A router and one capsule with no agent behind it."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        store = MemoryStore()
        self.connection = Connection(world.claims)
        store.claims = self.connection  # type: ignore[assignment]
        self.flow = Flow(Telemetry(), Limits(max_payload_bytes=1000), store, name)
        self.idempotency = self.flow.idempotency
        given_settings = pool_settings(queue={"maxSize": 4})
        self.pool = self.flow.pools[POOL] = Pool(given_settings, decode_spec(given_settings.spec), 0.0)
        self.capsule = Capsule(name, name, POOL, "", 0.0)
        self.pool.capsules[name] = self.capsule
        self.capsule.tools = {"t": common_pb2.Tool(name="t")}
        self.flow.agents.senders[self.capsule] = lambda frame: world.arrive(self, frame)
        worker = pool_pb2.Worker(id=f"{name}/0", incarnation=name, state=pool_pb2.WORKER_STATE_READY, slots=SLOTS)
        self.pool.update(self.capsule, [worker], self.flow.clock())
        self.upkeep = asyncio.create_task(self.idempotency.upkeep.run())


@dataclass(eq=False)
class Asked:
    """A caller, and what it was told."""

    replica: Replica
    key: str
    call: Call
    answers: list[link_pb2.Result]


class World:
    def __init__(self) -> None:
        self.claims = Flaky(MemoryClaims(asyncio.get_running_loop().time))
        self.replicas = [Replica(self, f"replica-{number}") for number in range(REPLICAS)]
        self.retired: list[Replica] = []
        self.there: list[tuple[Replica, link_pb2.Call]] = []
        self.started: Counter[str] = Counter()
        self.asked: list[Asked] = []

    def arrive(self, replica: Replica, frame: link_pb2.Frame) -> None:
        if frame.WhichOneof("kind") != "call":
            return
        call = link_pb2.Call()
        call.CopyFrom(frame.call)
        self.there.append((replica, call))
        self.started[call.idempotency_key] += 1

    # ---- what may happen

    def submit(self, which: int) -> None:
        replica, key = self.replicas[which % REPLICAS], f"key-{which // REPLICAS % KEYS}"
        timeout = (60.0, 1.0)[which % 3 == 0]
        call = link_pb2.Call(id=len(self.asked), pool=POOL, tool="t", idempotency_key=key, timeout_seconds=timeout)
        frame = link_pb2.Frame(call=call)
        answers: list[link_pb2.Result] = []
        asked = replica.flow.intake.open(frame, lambda call, frame: answers.append(frame.result), replica.flow.clock())
        self.asked.append(Asked(replica, key, asked, answers))

    def finish(self, which: int) -> None:
        self._answer(which, payload=common_pb2.Payload(data=f"result {which}".encode()))

    def lose(self, which: int) -> None:
        self._answer(which, error=common_pb2.Error(reason="WORKER_LOST", started=common_pb2.STARTED_MAYBE))

    def refuse(self, which: int) -> None:
        """The tool's arguments are wrong: it has not run."""
        taken = self._answer(which, error=common_pb2.Error(reason="INVALID_ARGUMENTS", started=common_pb2.STARTED_NO))
        if taken is not None:
            self.started[taken.idempotency_key] -= 1

    def reject(self, which: int) -> None:
        if self.there:
            replica, call = self.there.pop(which % len(self.there))
            self.started[call.idempotency_key] -= 1
            replica.flow.outcomes.rejected(replica.capsule, link_pb2.Reject(id=call.id, reason="RECALLED"))
            replica.flow.outcomes.give_slots_out()
            now = replica.flow.clock()
            for worker in replica.pool.workers.values():
                worker.full = False
            replica.pool.refresh(replica.capsule, now)
            replica.flow.dispatcher.pump(replica.pool, now)

    def cancel(self, which: int) -> None:
        if self.asked:
            asked = self.asked[which % len(self.asked)]
            asked.replica.flow.calls.cancel(asked.call)

    def crash(self, which: int) -> None:
        """A replica dies as it stands, with what it had asked of the store; another takes its place."""
        number = which % REPLICAS
        dead = self.replicas[number]
        dead.upkeep.cancel()
        dead.connection.dead = True
        dead.end = asyncio.create_task(dead.idempotency.stop())
        for asked in self.asked:
            if asked.replica is dead and not asked.answers:
                asked.answers.append(link_pb2.Result(error=common_pb2.Error(reason="REPLICA_LOST", started=common_pb2.STARTED_MAYBE)))
                asked.call.answered = True
        self.there = [(replica, call) for replica, call in self.there if replica is not dead]
        dead.flow.calls.stop()
        dead.flow.recalls.stop()
        self.retired.append(dead)
        self.replicas[number] = Replica(self, f"replica-{number}-{len(self.retired)}")

    def break_store(self, which: int) -> None:
        self.claims.away, self.claims.acts = True, bool(which % 2)

    def mend_store(self, _: int) -> None:
        self.claims.away = False

    def flush_store(self) -> None:
        """It comes back empty."""
        self.claims.claims = MemoryClaims(asyncio.get_running_loop().time)

    def _answer(self, which: int, **outcome: Any) -> link_pb2.Call | None:
        if not self.there:
            return None
        replica, call = self.there.pop(which % len(self.there))
        result = link_pb2.Result(id=call.id, run_seconds=0.001, **outcome)
        replica.flow.outcomes.answered(replica.capsule, link_pb2.Frame(result=result))
        replica.flow.outcomes.give_slots_out()
        return call

    # ---- what must always hold

    def check(self) -> None:
        assert set(self.started.values()) <= {0, 1}, "a call was sent again though it may have run"
        for replica in self.replicas:
            waiting = [entry for entry in replica.idempotency.upkeep.entries.values() if entry.callers]
            assert replica.pool.queue.joined == sum(caller is not entry.first for entry in waiting for caller in entry.callers)
            assert replica.pool.queue.depth + replica.pool.queue.joined <= replica.pool.queue.max_size + 1
            assert replica.flow.calls.count == sum(not a.call.answered for a in self.asked if a.replica is replica) + sum(
                entry.run is not None for entry in replica.idempotency.upkeep.entries.values()
            )
        assert all(len(asked.answers) == asked.call.answered for asked in self.asked), "answered once, when it is over"
        for key in {asked.key for asked in self.asked}:
            results = {a.answers[0].payload.data for a in self.asked if a.key == key and a.answers and a.answers[0].HasField("payload")}
            assert len(results) <= 1, results
            assert not results or self.started[key] == 1

    async def settle(self) -> None:
        """All is well again: everybody is answered, and nothing is left over."""
        self.mend_store(0)
        async with asyncio.timeout(200):
            while self.there or any(each.idempotency.upkeep.entries or each.flow.calls.count for each in self.replicas):
                self.finish(0)
                await asyncio.sleep(0.1)
            await asyncio.sleep(2 * RENEW_SECONDS)
        assert all(asked.answers for asked in self.asked), "somebody still waits"
        self.check()
        for replica in self.replicas:
            assert not replica.idempotency.upkeep.doubtful
            assert not replica.idempotency.upkeep.unstored_bytes

    async def stop(self) -> None:
        for replica in [*self.replicas, *self.retired]:
            replica.upkeep.cancel()
            await replica.flow.stop()


STEPS: dict[str, Callable[[World, int], None]] = {
    name: getattr(World, name) for name in ("submit", "finish", "lose", "refuse", "reject", "cancel", "crash", "break_store", "mend_store")
}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*STEPS, "submit", "submit", "wait"]), st.integers(0, 30)), max_size=60))
def test_the_tool_is_started_once_under_a_key_and_everybody_hears_the_same(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        world = World()
        try:
            for name, which in steps:
                if name == "wait":
                    await asyncio.sleep(which / 4)
                else:
                    STEPS[name](world, which)
                for _ in range(8):
                    await asyncio.sleep(0)
                world.check()
            await world.settle()
        finally:
            await world.stop()

    run_on_virtual_clock(play())


async def played(*steps: tuple[str, int] | float | Callable[[World], None]) -> World:
    """The world after these steps; a number is so many seconds."""
    world = World()
    for step in steps:
        if isinstance(step, tuple):
            STEPS[step[0]](world, step[1])
        elif callable(step):
            step(world)
        else:
            await asyncio.sleep(step)
        for _ in range(8):
            await asyncio.sleep(0)
        world.check()
    return world


OF_ONE, OF_OTHER = ("submit", 4), ("submit", 1)
"""The same key, through the one replica and the other, with a minute's time."""


def test_who_waits_for_another_replicas_run_when_the_store_goes_hears_that_it_may_have_run() -> None:
    async def play() -> None:
        world = await played(OF_ONE, OF_OTHER, 0.5, ("break_store", 0), 2.0)
        one, other = world.asked
        assert not one.answers
        (refusal,) = other.answers
        assert (refusal.error.reason, refusal.error.started) == ("STORE_UNAVAILABLE", common_pb2.STARTED_MAYBE)
        await world.settle()
        await world.stop()

    run_on_virtual_clock(play())


def test_who_asks_a_store_that_does_not_answer_hears_that_the_call_never_started() -> None:
    async def play() -> None:
        world = await played(("break_store", 0), OF_ONE, 0.5)
        (refusal,) = world.asked[0].answers
        assert (refusal.error.reason, refusal.error.started) == ("STORE_UNAVAILABLE", common_pb2.STARTED_NO)
        await world.settle()
        await world.stop()

    run_on_virtual_clock(play())


def test_a_claim_that_is_in_doubt_is_not_released_while_its_call_runs() -> None:
    """The store came back empty, and was away again in the moment in which the claim was written down anew."""

    async def play() -> None:
        def unanswered(world: World) -> None:
            world.claims.unanswered.add("claim")

        def mended(world: World) -> None:
            world.claims.unanswered.clear()

        world = await played(OF_ONE, 0.5, World.flush_store, unanswered, 1.5 * RENEW_SECONDS, mended, 2 * RENEW_SECONDS, OF_OTHER, 0.5)
        assert world.started["key-0"] == 1, "the other replica would have run it too"
        world.finish(0)
        await world.settle()
        assert [asked.answers[0].payload.data for asked in world.asked] == [b"result 0"] * 2
        await world.stop()

    run_on_virtual_clock(play())
