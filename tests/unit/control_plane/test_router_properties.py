"""Whatever happens in whatever order: slots are never exceeded, no call is lost, none is answered twice. Random, by hypothesis."""

import asyncio
from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.pools import Router
from snakepit_control_plane.router.workers import Capsule
from snakepit_control_plane.sessions import Sessions
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support.simulated_agent import POOL
from support.simulated_agent import settings as pool_settings

WORKERS, SLOTS, QUEUE = 3, 2, 5


class World:
    """A router, one capsule with no agent behind it, and an account of every call."""

    def __init__(self) -> None:
        self.router = Router(Telemetry(), max_payload_bytes=1000)
        self.router.sessions = Sessions(self.router, MemoryStore())
        given_settings = pool_settings(queue={"maxSize": QUEUE, "timeoutSeconds": 1000})
        self.pool = Pool(given_settings, decode_spec(given_settings.spec), 0.0)
        self.router.pools[POOL] = self.pool
        self.capsule = Capsule("c", "i", POOL, "", 0.0)
        self.pool.capsules["i"] = self.capsule
        self.capsule.tools = {"t": common_pb2.Tool(name="t")}
        self.there: dict[int, str] = {}
        self.sent: list[int] = []
        self.router.senders[self.capsule] = self.arrive
        self.answers: Counter[int] = Counter()
        self.calls: list[Call] = []
        self.lives = dict.fromkeys(range(WORKERS), 0)
        self.report()

    def report(self) -> None:
        infos = [
            pool_pb2.Worker(id=f"c/{n}", incarnation=f"{n}-{life}", state=pool_pb2.WORKER_STATE_READY, slots=SLOTS)
            for n, life in self.lives.items()
        ]
        self.pool.update(self.capsule, infos, 0.0)
        self.router.pump(self.pool, 0.0)

    def arrive(self, frame: link_pb2.Frame) -> None:
        if frame.WhichOneof("kind") == "call":
            assert frame.call.id not in self.sent, "one frame id twice"
            self.sent.append(frame.call.id)
            self.there[frame.call.id] = frame.call.incarnation

    # ---- what may happen

    def submit(self, _: int) -> None:
        number = len(self.calls)
        frame = link_pb2.Frame(call=link_pb2.Call(id=number, pool=POOL, tool="t"))
        call = Call(frame, lambda call, frame: self.answers.update([number]), self.router.clock())
        self.calls.append(call)
        self.router.submit(call)

    def finish(self, which: int) -> None:
        if self.there:
            frame_id = list(self.there)[which % len(self.there)]
            del self.there[frame_id]
            self.router.answers.answered(self.capsule, link_pb2.Frame(result=link_pb2.Result(id=frame_id, run_seconds=1, payload={})))

    def reject(self, which: int) -> None:
        if self.there:
            frame_id = list(self.there)[which % len(self.there)]
            del self.there[frame_id]
            self.router.answers.rejected(self.capsule, link_pb2.Reject(id=frame_id, reason="NO_SLOT"))

    def cancel(self, which: int) -> None:
        if self.calls:
            self.router.cancel(self.calls[which % len(self.calls)])

    def die(self, which: int) -> None:
        """A worker's life ends: the agent rejects what it held."""
        worker = which % WORKERS
        old = f"{worker}-{self.lives[worker]}"
        self.lives[worker] += 1
        self.report()
        for frame_id in [each for each, life in self.there.items() if life == old]:
            del self.there[frame_id]
            self.router.answers.rejected(self.capsule, link_pb2.Reject(id=frame_id, reason="WORKER_GONE"))

    # ---- what must always hold

    def check(self) -> None:
        for life, calls in Counter(self.there.values()).items():
            assert calls <= SLOTS, life
        assert self.pool.queue.depth == sum(call.waiting for call in self.calls)
        assert all(count == 1 for count in self.answers.values())
        for worker in self.pool.workers.values():
            here = sum(life == worker.incarnation for life in self.there.values())
            assert worker.own == here
            assert not (worker.has_room and len(self.pool.queue.anybody)), "a call waits though a slot is free"
        open_ = sum(not call.closed for call in self.calls)
        assert self.router.open_calls == open_
        assert set(self.capsule.inflight) == set(self.there)

    def settle(self) -> None:
        self.report()
        while self.there:
            self.finish(0)
        assert sum(self.answers.values()) == len(self.calls), "a call was never answered"


STEPS: dict[str, Callable[[World, int], None]] = {
    "submit": World.submit,
    "finish": World.finish,
    "reject": World.reject,
    "cancel": World.cancel,
    "die": World.die,
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*STEPS, "submit", "submit"]), st.integers(0, 50)), max_size=80))
def test_slots_are_never_exceeded_and_every_call_is_answered_once(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        world = World()
        for name, which in steps:
            STEPS[name](world, which)
            world.check()
        world.settle()
        world.router.stop()

    asyncio.run(play())
