"""A pool that goes to zero, and calls that come just then: the product from the caller's link to the operator's decision.

Real are the operator's controller, the control plane's replicas, agents and the SDK's links. Simulated are the API server, the kubelet,
worker processes, sockets and the clock. Each race waits until the pool is about to go to zero, or is at it, and calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from simulation.account import Account, Attempt
from simulation.capsule import SimulatedCapsule
from simulation.client import Client, Wanted
from simulation.faults import Plan
from simulation.network import Connection, Network
from simulation.operator_api import EPOCH, NAMESPACE, Server
from simulation.replica import Host
from simulation.store import SharedStore

from snakepit.v1 import common_pb2, fleet_pb2
from snakepit_agent.main import LINGER_SECONDS
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.servers.fleet import FleetServicer
from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet, IsShort, OnChange
from snakepit_operator.kube import PODS, POOLS, Kube, Object, Resource
from snakepit_operator.pods import AgentImage, pool_settings
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view

POOL = f"{NAMESPACE}/test"
REPLICAS = ("one", "two")
IDLE_SECONDS = 1.0
PATIENCE_SECONDS = 90.0
MOMENTS = ("time", "look", "cordon", "delete")
"""When a race's call comes: at any time about then, or just after the operator has listed the pods, a replica has been told, or a pod's
deletion has been asked for."""
SPREADS = (0.0, 0.005, 0.05, 0.5)


class Api:
    """The API server as the operator's process reaches it: each request takes a while, there and back. `told` hears of each."""

    def __init__(self, server: Server, chance: random.Random, told: Callable[[str, Resource], None]) -> None:
        self._server, self._chance, self._told = server, chance, told

    def __getattr__(self, verb: str) -> Any:
        ask = getattr(self._server, verb)

        async def asked(resource: Resource, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(self._chance.random() * 0.01)
            self._told(verb, resource)
            answer = await ask(resource, *args, **kwargs)
            await asyncio.sleep(self._chance.random() * 0.01)
            return answer

        return asked


class Talk:
    """The operator's end of a stream to a replica."""

    def __init__(self, world: ZeroWorld, connection: Connection) -> None:
        self._world, self._connection = world, connection

    async def write(self, request: fleet_pb2.SyncRequest) -> None:
        await self._lag()
        if isinstance(ended := self._connection.down.ended, BaseException):
            raise ended
        self._connection.up.send(request)
        if request.drain_capsules:
            self._world.passes("cordon")

    async def read(self) -> Any:
        answer = await self._connection.down.read()
        await self._lag()
        return answer

    async def _lag(self) -> None:
        if lag := self._world.lag.get(self._connection.replica):
            await asyncio.sleep(self._world.chance.random() * lag)


class ZeroWorld:
    """Everything that one seed determines. `strict`: callers have sessions that keep to their worker."""

    def __init__(self, seed: int, *, strict: bool) -> None:
        self.chance = random.Random(seed)
        self.strict = strict
        self.account = Account()
        self.network = Network(self.chance, REPLICAS, self.account.problems.append)
        self.store = SharedStore(self.account, self.chance)
        self.descriptors: dict[int, Any] = {}
        self.hosts = [Host(name, self.network, self.store) for name in REPLICAS]
        self.capsules: dict[str, SimulatedCapsule] = {}
        self.server = Server(lambda: EPOCH + asyncio.get_running_loop().time())
        self.server.on_change = self._changed
        self.client = Client("client", self.account, self.network)
        self.lag: dict[str, float] = {}
        self.moment, self.spread = "", 0.0
        self.raced: asyncio.Future[None] | None = None
        self.sessions = itertools.count()
        self.attempts: list[Attempt] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    async def run(self, races: int) -> None:
        await self.begin()
        for _ in range(races):
            await self.race()
        await self.end()

    async def begin(self) -> None:
        for host in self.hosts:
            await host.start()
            assert host.replica is not None
            sync = FleetServicer(host.replica.fleet, host.replica.id, Gate()).Sync
            self.network.hosts[host.name] = {**self.network.hosts[host.name], "Sync": sync}  # type: ignore[dict-item]
        self.client.start()
        self.plan = Plan.draw(random.Random(1))
        policy = {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": IDLE_SECONDS}
        spec = {
            "image": "worker:1",
            "worker": {"adapter": "tests.tools:Tools", "processes": 1},
            "autoscaling": policy,
            "drain": {"timeoutSeconds": 5, "killAfterSeconds": 1},
            "heartbeat": {"intervalSeconds": 5, "timeoutSeconds": 15},
        }
        body = {"metadata": {"name": "test", "namespace": NAMESPACE}, "spec": spec}
        await self.server.create(POOLS, NAMESPACE, body)
        settings = Settings(
            namespace="snakepit-system",
            identity="operator",
            agent=AgentImage(image="agent:1", control_plane="plane:7800"),
            watch_namespaces=(NAMESPACE,),
        )
        kube = cast(Kube, Api(self.server, self.chance, self._asked))
        now = self.server.now
        self.controller = Controller(kube, settings, fleet=self._fleet, watching=self._watch, now=now)
        self.spawn(self.controller.run())
        await self._until(lambda: any(each.agent is not None and each.agent.is_ready for each in self.capsules.values()), "a first capsule")

    # ---- races

    async def race(self) -> None:
        """From a pool that has a capsule, or none; to one that has none, all calls answered."""
        chance = self.chance
        if not self.server.pods():
            self.call()
            await self._until(self._all_answered, "the first call after zero is answered")
        self._trouble()
        self.moment, self.spread = chance.choice(MOMENTS), chance.choice(SPREADS)
        self.raced = asyncio.get_running_loop().create_future()
        if self.moment == "time":
            asyncio.get_running_loop().call_later(IDLE_SECONDS + chance.uniform(-0.5, 2.5), self.passes, "time")
        await asyncio.wait_for(self.raced, PATIENCE_SECONDS)
        await self._until(self._all_answered, "the call is answered")
        bad = [f"{each.call_id}: {each.outcome}" for each in self.attempts if not each.outcome.startswith(f"{each.call_id}/")]
        assert not bad, f"calls that failed: {bad}"
        self.attempts.clear()
        await self._until(lambda: not self.server.pods(), "the pool is at zero in the end")
        self.check()

    def passes(self, moment: str) -> None:
        """The race's moment has come, if it is this one."""
        if moment == self.moment and self._is_idle():
            self.moment = ""
            asyncio.get_running_loop().call_later(self.chance.random() * self.spread, self._raced)

    def _is_idle(self) -> bool:
        """For so long that the pool goes to zero about now."""
        replicas = [host.replica for host in self.hosts if host.replica is not None]
        idle = [replica.flow.pools[POOL].demand.message(replica.flow.clock()).idle_seconds for replica in replicas]
        return self.moment == "time" or min(idle) >= IDLE_SECONDS - 1.1

    def _raced(self) -> None:
        self.call()
        if self.raced is not None and not self.raced.done():
            self.raced.set_result(None)

    def call(self) -> None:
        if self.strict:
            self.spawn(self._in_session(f"session-{next(self.sessions)}"))
            return
        self.attempt(Wanted(self.chance.choice(["quick", "slow", "long"]), PATIENCE_SECONDS))

    async def _in_session(self, session: str) -> None:
        """Two calls of a session that lives for a while, which keeps to its worker until it ends."""
        record = SessionRecord(POOL, session, f"uid-{session}", 0.0, 0.0, 4.0, 1)
        await self.store.memory.create_session(record, 1000)
        for _ in range(2):
            self.attempt(Wanted("slow", PATIENCE_SECONDS, session, common_pb2.AFFINITY_STRICT_QUEUE))
            await asyncio.sleep(self.chance.random())

    def attempt(self, wanted: Wanted) -> None:
        before = set(self.account.attempts)
        self.client.call(wanted)
        self.attempts += [each for call_id, each in self.account.attempts.items() if call_id not in before]

    def _all_answered(self) -> bool:
        return bool(self.attempts) and all(each.ended for each in self.attempts)

    def _trouble(self) -> None:
        """One of the replicas is late, or away for the operator, for a while that the call falls into."""
        chance, replica = self.chance, self.chance.choice(REPLICAS)
        kind = chance.choice(["none", "lags", "lags", "away"])
        self.lag = {replica: chance.choice([0.05, 0.5, 2.0])} if kind == "lags" else {}
        if kind == "lags":
            asyncio.get_running_loop().call_later(chance.random() * 5, self.lag.clear)
        if kind == "away":
            asyncio.get_running_loop().call_later(chance.random() * 2, self._block, replica, chance.random() * 5)

    def _block(self, replica: str, seconds: float) -> None:
        way = ("operator", replica)
        self.account.note(f"{replica} is away for the operator for {seconds:.1f} s")
        self.network.blocked.add(way)
        for connection in [each for each in self.network.connections if (each.dialler, each.replica) == way]:
            connection.cut(arrives=False, up_notices=0.0, down_notices=self.chance.random())
        asyncio.get_running_loop().call_later(seconds, self.network.blocked.discard, way)

    # ---- what must hold

    def _asked(self, verb: str, resource: Resource) -> None:
        if verb in ("create", "delete", "apply_status"):
            self.account.note(f"the operator: {verb} {resource.plural}")
        if resource is not PODS:
            return
        if verb == "list":
            self.passes("look")
        elif verb == "delete":
            self._judge()
            self.passes("delete")

    def _judge(self) -> None:
        """A pod of a pool that goes to zero is deleted: whoever routes calls has ceased to send them there, and none is there."""
        size = self.controller.reconciler.memories[POOL].size
        if size is None or size.capsules:
            return
        names = [pod["metadata"]["uid"] for pod in self.server.pods().values() if not pod["metadata"].get("deletionTimestamp")]
        for host in self.hosts:
            replica = host.replica
            assert replica is not None
            uncordoned = [name for name in names if name not in replica.fleet.cordoned]
            if uncordoned:
                self.account.violated(f"{uncordoned} are deleted, and {host.name} sends calls there")
            capsules = [each for each in replica.flow.pools[POOL].capsules.values() if each.pod_uid in names]
            running = sum(worker.load for capsule in capsules for worker in capsule.everyone)
            bound = sum(replica.flow.sessions.upkeep.bound_to(each.name) for each in capsules)
            if running or bound:
                self.account.violated(f"{names} are deleted, with {running} calls and {bound} sessions of {host.name} there")

    def check(self) -> None:
        assert not self.account.problems, self.account.problems[0]

    async def _until(self, so: Callable[[], bool], what: str) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_SECONDS
        while not so():
            self.check()
            assert loop.time() < end, f"not within {PATIENCE_SECONDS:g} s: {what}"
            await asyncio.sleep(0.2)

    # ---- the kubelet

    def _changed(self, kind: str, found: Object) -> None:
        if kind == PODS.plural:
            self._kubelet(found)
            asyncio.get_running_loop().call_later(0.01 * self.chance.random(), self.controller.wake, POOL)

    def _kubelet(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp") or name not in self.server.pods():
            if (capsule := self.capsules.pop(name, None)) is not None:
                self.spawn(self._terminate(capsule, pod))
        elif name not in self.capsules:
            pool, uid = pool_settings(pool_view(self.server.pools()["test"])), pod["metadata"]["uid"]
            self.capsules[name] = SimulatedCapsule(name, pool, self.account, self.network, self.descriptors, self.plan, uid)
            self.spawn(self._start(self.capsules[name], pod))

    async def _start(self, capsule: SimulatedCapsule, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        await asyncio.sleep(self.chance.uniform(0.05, 0.5))
        if self.capsules.get(name) is not capsule:
            return
        self.server.bind(name, uid, "node")
        capsule.start()
        self.server.patch(PODS, name, uid, phase="Running")
        while self.capsules.get(name) is capsule and capsule.agent is not None and not capsule.agent.is_ready:
            await asyncio.sleep(0.1)
        if self.capsules.get(name) is capsule:
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": self.server.stamp()}
            self.server.patch(PODS, name, uid, phase="Running", conditions=[condition])

    async def _terminate(self, capsule: SimulatedCapsule, pod: Object) -> None:
        """TERM, the drain, and the pod is gone."""
        agent = capsule.agent
        if agent is not None:
            agent.drain()
            await agent.finished.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await agent.settle()
            await agent.stop()
        self.server.remove(PODS, pod["metadata"]["name"], pod["metadata"]["uid"])

    # ---- the operator's edges

    def _fleet(self, on_change: OnChange, is_short: IsShort) -> Fleet:
        async def look_up(_target: str) -> dict[str, str]:
            return dict.fromkeys(REPLICAS, "plane")

        return Fleet("plane:7800", on_change, is_short=is_short, connect=self._connect, look_up=look_up)

    @asynccontextmanager
    async def _connect(self, address: str, _host: str) -> AsyncIterator[Talk]:
        connection = self.network.connect("operator", address, "Sync")
        try:
            yield Talk(self, connection)
        finally:
            connection.hang_up()

    async def _watch(self, _namespaces: tuple[str, ...], on_wake: Callable[[str], None], until_listed: Callable[[], Any]) -> None:
        await until_listed()
        on_wake(POOL)
        await asyncio.get_running_loop().create_future()

    # ---- tasks

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.account.problems.append(f"{error!r}")

    async def end(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.stop()
        for host in self.hosts:
            await host.stop(0.0)
        await asyncio.sleep(10)
        self.account.close()
        self.check()
