"""A cluster with pools, people who edit them, and operators, one of which leads, or several believe that they do.

The operator's own program runs on a virtual clock: of it only the API server, the watches, the replicas' streams and the port for probes
are replaced. `step` is what can happen, `operator_rules` what must hold whenever something is written, `settle` what must be so in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from simulation import operator_rules as rules
from simulation.operator_api import EPOCH, NAMESPACE, REFUSALS, Client, Server, Weather, pool_of
from simulation.operator_nodes import TROUBLES, Life, Nodes
from simulation.operator_plane import Plane
from simulation.operator_rules import Rules

from snakepit_operator import apply, controller, leases, main
from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet, IsShort, OnChange
from snakepit_operator.kube import PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.main import Operator
from snakepit_operator.pods import AgentImage, labels
from snakepit_operator.rollout import pool_hash
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view

GAPS = [0.0, 0.0, 0.1, 0.5, 1.0, 3.0, 3.0, 10.0, 10.0, 45.0]
STEPS = 30
NAMES = ("digits", "letters")
SETTLE_SECONDS = 900.0
"""Enough for the longest of all pauses after failures, which is 300 s, to come round."""
QUIET_SECONDS = 65.0
WAIT_SECONDS = 15.0
"""A call that finds no capsule has one within this time."""
STRONG_SECONDS = 20.0
"""From a node's end: ten until its capsules are lost, the rest for new ones to start."""


class Process:
    """One life of an operator's program."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.wake: Callable[[str], None] | None = None
        self.skew = 0.0

    @property
    def lives(self) -> bool:
        return self.task is not None and not self.task.done() and not self.client.dead


CURRENT: ContextVar[Process] = ContextVar("CURRENT")


class World:
    """Everything that one seed determines."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.trace: list[str] = []
        self.weather = Weather()
        self.server = Server(self.now)
        self.plane = Plane(chance, chance.choice([1, 2, 2, 3]))
        self.nodes = Nodes(self.server, chance, self.plane, chance.choice([2, 3, 5]))
        self.rules = Rules(self.server, self.plane, self.note)
        self.server.on_change = self.changed
        self.plane.on_told = self.rules.told
        self.processes: list[Process] = []
        self.born = 0
        self.calm = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():9.3f} {what}")

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def later(self, seconds: float, act: Callable[..., object], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, act, *arguments)

    # ---- what the API server tells

    def changed(self, kind: str, found: Object) -> None:
        if kind == PODS.plural:
            if rules.owner(found):
                self.nodes.changed(found)
        elif kind == POOLS.plural and self.server.pools().get(found["metadata"]["name"]) is not found:
            self.collect(found)
        if name := pool_of(kind, found):
            if kind == PODS.plural:
                self.rules.changed(name.partition("/")[2])
            for process in self.processes:
                self._tell(process, name)

    def _tell(self, process: Process, name: str) -> None:
        """Once, or never, or twice; sooner or later."""
        if process.wake is None:
            return
        chance = self.chance
        times = 1 if self.calm else chance.choice([1, 1, 1, 1, 1, 1, 0, 2])
        for _ in range(times):
            self.later(0.01 if self.calm or chance.random() < 0.7 else chance.random() * 8, self._wake, process, name)

    @staticmethod
    def _wake(process: Process, name: str) -> None:
        if process.wake is not None:
            process.wake(name)

    def collect(self, pool: Object) -> None:
        """The garbage collector, some time after an owner has gone."""
        gone = pool["metadata"]["uid"]
        if any(each["metadata"]["uid"] == gone for each in self.server.pools().values()):
            return

        def due() -> None:
            for name, each in list(self.server.pods().items()):
                if rules.owner(each) == gone:
                    self.spawn(self.server.delete(PODS, NAMESPACE, name))

        for after in (2.0, 30.0, 120.0):
            self.later(after * (1 if self.calm else self.chance.random()), due)

    # ---- operators

    def start(self) -> Process:
        self.born += 1
        client = Client(f"operator-{self.born}", self.server, self.chance, self.weather, self.rules)
        process = Process(client)
        process.skew = self.chance.choice([0.0, 0.0, 0.0, -2.0, 2.0, 20.0])
        client.listens = lambda: self.plane.heard(client)
        client.unheard = lambda: self.plane.unheard(client)
        client.demanded = lambda: self.plane.wanted(client)
        client.on_crash = lambda: self.crash(process)
        settings = Settings(
            namespace="snakepit-system",
            identity=client.name,
            agent=AgentImage(image="agent:1", control_plane="plane:7800"),
            watch_namespaces=(NAMESPACE,),
        )

        async def life() -> None:
            CURRENT.set(process)
            await Operator(cast(Kube, client), settings).run(process.stop)

        self.note(f"start {client.name}")
        process.task = asyncio.get_running_loop().create_task(life(), name=client.name)
        process.task.add_done_callback(self._ended)
        self.processes.append(process)
        return process

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.rules.problems.append(f"{task.get_name()} ended: {error!r}")

    def crash(self, process: Process) -> None:
        """At once: whatever it does from now on reaches nobody."""
        if not process.lives:
            return
        self.note(f"{process.client.name} crashes")
        process.client.dead = True
        process.wake = None
        for call in self.plane.talks(process.client):
            call.end()
        assert process.task is not None
        process.task.cancel()
        self.processes.remove(process)
        self.later(self.chance.random() * self.chance.choice([0.5, 20.0]), self._replace)

    def _replace(self) -> None:
        if not any(each.lives and not each.client.usurps for each in self.processes):
            self.start()

    def running(self) -> list[Process]:
        return [each for each in self.processes if each.lives]

    # ---- a run

    async def run(self) -> None:
        await self.make(NAMES[0])
        self.start()
        if self.chance.random() < 0.3:
            self.start()
        for _ in range(STEPS):
            await self.step()
            await self.elapse(self.chance.choice(GAPS) * self.chance.random())
        await self.settle()
        await self.end()

    async def elapse(self, seconds: float) -> None:
        """Time; as soon as something is wrong, no more of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rules.broken.wait()
        self.check()

    def check(self) -> None:
        assert not self.rules.problems, "; ".join(self.rules.problems)

    async def step(self) -> None:
        chance = self.chance
        if chance.random() < 0.35:
            await self.edit()
            return
        moves: list[Callable[[], object]] = [
            self.storm,
            self.storm,
            self.api_away,
            self.refuse,
            self.crash_one,
            self.stop_one,
            self.second,
            self.usurp,
            self.replica_restarts,
            self.replica_restarts,
            self.replica_silent,
            self.replica_lags,
            self.replica_leaves,
            self.plane_away,
            self.trouble,
            self.trouble,
            self.heal_pods,
            self.node_vanishes,
            self.node_vanishes,
            self.person_deletes,
            self.person_deletes,
            self.pod_ends,
            self.pod_crashes,
            self.foreign,
            self.calls,
            self.calls,
            self.call,
            self.call,
            self.rate,
        ]
        done = chance.choice(moves)()
        if isinstance(done, Awaitable):
            await done

    # ---- people

    def spec(self) -> Object:
        chance = self.chance
        return {
            "worker": {"adapter": "digits.tools:Digits"},
            "image": f"example/digits:{chance.choice([1, 1, 2])}",
            "replicas": chance.choice([0, 1, 2, 3, 3, 4, 5, 8]),
            "rollout": self.rollout(),
            **({"autoscaling": self.autoscaling()} if chance.random() < 0.3 else {}),
        }

    def rollout(self) -> Object:
        chance = self.chance
        return {
            "maxSurge": chance.choice([0, 1, 1, 2, "25%", "50%", "100%"]),
            "maxUnavailable": chance.choice([0, 0, 0, 1, 2, "25%"]),
            "progressDeadlineSeconds": chance.choice([10, 60, 600]),
            "paused": chance.random() < 0.15,
        }

    def autoscaling(self) -> Object:
        chance = self.chance
        return {
            "minReplicas": chance.choice([0, 0, 1, 2]),
            "maxReplicas": chance.choice([2, 4, 8]),
            "scaleDownStabilizationSeconds": chance.choice([0, 20]),
            "idleSeconds": chance.choice([5, 20]),
        }

    async def make(self, name: str) -> None:
        spec = self.spec()
        self.note(f"make {name}: {spec}")
        document = {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": name}, "spec": spec}
        await self.server.create(POOLS, NAMESPACE, document)

    async def edit(self) -> None:
        chance = self.chance
        name = chance.choice([NAMES[0], NAMES[0], NAMES[0], NAMES[1]])
        there = self.server.pools().get(name)
        kind = chance.random()
        if there is None:
            await self.make(name)
        elif kind < 0.12:
            self.note(f"delete pool {name}")
            await self.server.delete(POOLS, NAMESPACE, name)
            if chance.random() < 0.6:
                await asyncio.sleep(chance.choice([0.0, 0.0, 1.0]) * chance.random())
                await self.make(name)
        elif kind < 0.2:
            await self.patch(name, {"metadata": {"annotations": {"snakepit.dev/restartedAt": str(chance.randint(0, 2))}}})
        else:
            await self.patch(name, {"spec": self.change()})

    def change(self) -> Object:
        chance = self.chance
        return chance.choice(
            [
                {"replicas": chance.choice([0, 1, 2, 3, 4, 5, 8, 12])},
                {"replicas": chance.choice([0, 1, 2, 3, 4, 5, 8])},
                {"image": f"example/digits:{chance.choice([1, 2, 3])}"},
                {"image": f"example/digits:{chance.choice([1, 2, 3])}"},
                {"rollout": self.rollout()},
                {"suspended": chance.random() < 0.5},
                {"queue": {"maxSize": chance.randint(1, 100)}},
                {"drain": {"timeoutSeconds": chance.choice([10, 20])}},
                {"autoscaling": self.autoscaling()},
                {"autoscaling": self.autoscaling()},
                {"autoscaling": None},
            ]
        )

    async def patch(self, name: str, body: Object) -> None:
        self.note(f"edit {name}: {body}")
        await self.server.merge(POOLS, NAMESPACE, name, body)

    async def person_deletes(self) -> None:
        """A pod or several: kubectl, an eviction, or without waiting for its end."""
        pods = [each for each in self.server.pods().values() if rules.owner(each)]
        for pod in self.chance.sample(pods, min(len(pods), self.chance.choice([1, 1, 2, 5]))):
            name = pod["metadata"]["name"]
            force = self.chance.random() < 0.2
            self.note(f"somebody deletes {name}{' by force' if force else ''}")
            if force:
                self.server.remove(PODS, name, rules.uid(pod))
            else:
                await self.server.delete(PODS, NAMESPACE, name)

    def foreign(self) -> None:
        """A pod with the labels of a pool that isn't its own: without an owner, or of a pool of that name that was there before."""
        pools = self.server.pools()
        if not pools:
            return
        pool = pool_view(self.chance.choice([pools[name] for name in sorted(pools)]))
        self.born += 1
        name, owner = f"foreign-{self.born}", self.chance.choice([[], [{"uid": "another", "name": pool.metadata.name}]])
        marks = {**labels(pool), "snakepit.dev/ordinal": "0", "snakepit.dev/template-hash": "-"}
        made = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "labels": marks, "ownerReferences": owner}
        metadata = {**made, "creationTimestamp": self.server.stamp(), "resourceVersion": "1"}
        self.server.pods()[name] = {"metadata": metadata, "spec": {"nodeName": "node-0"}, "status": {"phase": "Running"}}

    # ---- harm to operators

    def storm(self) -> None:
        weather, chance = self.weather, self.chance
        weather.faults, weather.slow = chance.choice([0.0, 0.05, 0.3]), chance.choice([0.0, 0.0, 0.2, 3.0])
        weather.crashes = chance.choice([0.0, 0.0, 0.02, 0.1])
        self.note(f"weather: {vars(weather)}")

    def api_away(self) -> None:
        self.note("the API server is away")
        self.weather.away = True
        self.later(self.chance.choice([2.0, 20.0, 60.0]) * self.chance.random(), setattr, self.weather, "away", False)

    def refuse(self) -> None:
        """The next pods: an admission hook, the schema, or the quota."""
        chance = self.chance
        if chance.random() < 0.5:
            self.server.pods_most = chance.choice([None, 2, 4])
        else:
            self.server.refuse = chance.choice([None, *REFUSALS])
        self.note(f"refused: {self.server.refuse}, at most {self.server.pods_most}")
        self.later(self.chance.choice([5.0, 60.0]), setattr, self.server, "refuse", None)

    def crash_one(self) -> None:
        if running := self.running():
            self.crash(self.chance.choice(running))

    def stop_one(self) -> None:
        if running := self.running():
            process = self.chance.choice(running)
            self.note(f"{process.client.name} is told to stop")
            process.stop.set()
            self.later(self.chance.random() * 3, self._replace)

    def second(self) -> None:
        if len(self.running()) < 2:
            self.start()

    def usurp(self) -> None:
        """One that thinks that it leads, whatever the Lease says."""
        if sum(each.client.usurps for each in self.running()):
            return
        process = self.start()
        process.client.usurps = True
        self.note(f"{process.client.name} leads too")
        self.later(self.chance.choice([3.0, 20.0, 60.0]) * self.chance.random(), self.crash, process)

    # ---- harm to the control plane

    def replica_restarts(self) -> None:
        replica = self.chance.choice(self.plane.replicas)
        if replica.up:
            self.note(f"{replica.name} restarts")
            self.plane.kill(replica)
            self.later(self.chance.choice([0.5, 10.0]) * self.chance.random(), self.plane.start, replica)

    def replica_silent(self) -> None:
        replica = self.chance.choice(self.plane.replicas)
        self.note(f"{replica.name} is silent")
        self.plane.harm(replica, silent=True)
        self.later(self.chance.choice([1.0, 40.0]) * self.chance.random(), self.plane.harm, replica)

    def replica_lags(self) -> None:
        replica = self.chance.choice(self.plane.replicas)
        replica.lag = self.chance.choice([0.0, 0.2, 5.0])
        self.plane.harm(replica, delay=self.chance.choice([0.0, 0.05, 2.0]))
        self.note(f"{replica.name} lags {replica.lag}, delay {replica.delay}")

    def replica_leaves(self) -> None:
        replica = self.chance.choice(self.plane.replicas)
        replica.named, replica.named_at = (not replica.named if len(self.plane.replicas) > 1 else True), self.plane.now()
        self.note(f"{replica.name} is {'named' if replica.named else 'not named'}")

    def plane_away(self) -> None:
        """No operator reaches it, or its name can't be looked up."""
        chance = self.chance
        self.note("the control plane is away")
        if chance.random() < 0.3:
            self.plane.nameless = True
        self.plane.cut.update(each.client.name for each in self.running())
        for replica in self.plane.replicas:
            self.plane.break_off(replica)

        def over() -> None:
            self.plane.cut.clear()
            self.plane.nameless = False

        self.later(chance.choice([3.0, 30.0, 90.0]) * chance.random(), over)

    # ---- harm to pods

    def trouble(self) -> None:
        self.nodes.trouble = self.chance.choice([0.0, 0.3, 1.0])
        self.nodes.kinds = tuple(self.chance.sample(TROUBLES, self.chance.choice([1, 2, len(TROUBLES)])))
        self.note(f"trouble: {self.nodes.trouble} {self.nodes.kinds}")

    def heal_pods(self) -> None:
        self.note("no trouble any more")
        self.nodes.trouble = 0.0
        for life in self.nodes.lives.values():
            life.trouble = ""

    def node_vanishes(self) -> None:
        chance = self.chance
        node = chance.choice(self.nodes.nodes)
        if node.down:
            return
        self.note(f"{node.name} vanishes")
        self.nodes.vanish(node)
        seconds = chance.choice([3.0, 20.0, 60.0, 400.0]) * chance.random()
        rebooted = chance.random() < 0.5

        def back() -> None:
            self.note(f"{node.name} is back")
            self.nodes.back(node, rebooted=rebooted)

        self.later(seconds, back)

    def _lives(self) -> list[Life]:
        return [life for life in self.nodes.lives.values() if life.worker and life.node is not None and not life.node.down]

    def pod_ends(self) -> None:
        if lives := self._lives():
            life = self.chance.choice(lives)
            self.note(f"{life} ends")
            self.nodes.end(life)

    def pod_crashes(self) -> None:
        for life in self.chance.sample(lives := self._lives(), min(len(lives), self.chance.choice([1, 2, 9]))):
            self.note(f"{life} crashes")
            self.nodes.crash(life)

    def calls(self) -> None:
        """They come and go."""
        for life in self._lives():
            self.plane.counts(life, self.chance.choice([0, 0, 1, 3]), self.chance.choice([0, 0, 1, 5]))

    def call(self) -> None:
        """Some, to any replica."""
        for name in sorted(self.server.pools()):
            for _ in range(self.chance.choice([0, 1, 1, 4])):
                self.plane.calls.arrive(f"{NAMESPACE}/{name}", self.chance.choice(self.plane.replicas))

    def rate(self) -> None:
        """So many come in each second, for a while."""
        pool = f"{NAMESPACE}/{self.chance.choice(NAMES)}"
        self.plane.calls.rate(pool, self.chance.choice([0.5, 2.0, 6.0]))
        self.later(self.chance.choice([10.0, 60.0]) * self.chance.random(), self.plane.calls.rate, pool, 0.0)

    # ---- the end

    async def settle(self) -> None:
        """When faults are over, all is as it is wanted, the status says so, and nobody writes any more."""
        self.note("settle")
        await self._calm()
        await self.until(SETTLE_SECONDS, self.unlike)
        await self.elapse(35)
        quiet = self.now()
        self.note("quiet")
        await self.elapse(QUIET_SECONDS)
        assert not (unlike := self.unlike()), f"settled, and then not any more: {'; '.join(unlike)}"
        writes = self.rules.since(quiet)
        assert len(writes) <= 2 * len(self.server.pools()), f"a settled pool is written: {writes}"
        await self.evict()
        await self.power_cut()
        await self.first_call()

    async def evict(self) -> None:
        """All is well, and somebody deletes a pod: that is what replicas are told, while it goes. Another takes its place, although the API
        server has a moment's trouble.
        """
        serving = [life for life in self.nodes.lives.values() if life.serving]
        if not serving:
            return
        life = self.chance.choice(serving)
        self.note(f"somebody deletes {life}")
        life.drain = 20.0
        self.server.refuse = KubeError(500, "InternalError", "etcdserver: leader changed")
        self.later(0.3, setattr, self.server, "refuse", None)
        await self.server.delete(PODS, NAMESPACE, life.name)
        await self.elapse(1.0)
        for replica in self.plane.replicas:
            if replica.named and not life.gone:
                assert life.name in replica.drained, f"{life} goes, and {replica.name} sends it calls"
                assert life.name in replica.evicted, f"{life} is evicted, and {replica.name} doesn't know"
        await self.until(10, self.weak)

    async def power_cut(self) -> None:
        """All is well, and a node is gone: its capsules are replaced, whatever Kubernetes says, and when it is back they end."""
        await self.until(60, self.unlike)
        node = self.chance.choice(self.nodes.nodes)
        self.note(f"{node.name} vanishes for long")
        self.nodes.vanish(node)
        if any(self.plane.holds(f"{NAMESPACE}/{name}") for name in self.server.pools()):
            self.note("too many are silent: nobody may be lost for it")
        else:
            await self.until(STRONG_SECONDS, self.weak)
        self.nodes.back(node, rebooted=True)
        await self.until(60, self.unlike)

    async def first_call(self) -> None:
        """All is well, and there is no capsule: a call gets one, and when it has ended, that goes again."""
        asleep = [name for name, each in sorted(self.server.pools().items()) if rules.sizes(each["spec"]) != (0, 0) and not self.size(each)]
        named = [replica for replica in self.plane.replicas if replica.named]
        for name in asleep:
            self.note(f"a call of {name}")
            self.plane.calls.arrive(f"{NAMESPACE}/{name}", self.chance.choice(named))
        await self.until(WAIT_SECONDS, lambda: self.waiting(asleep))
        if asleep and self.chance.random() < 0.3:
            await self.until(120, self.unlike)

    def waiting(self, pools: list[str]) -> list[str]:
        return [f"a call of {each.pool} waits" for each in self.plane.calls.waiting if each.pool.partition("/")[2] in pools]

    def size(self, pool: Object) -> int:
        """How many capsules there should be while there are no calls."""
        fewest, most = rules.sizes(pool["spec"])
        return min(fewest, most)

    def weak(self) -> list[str]:
        """Pools that are not at full strength."""
        found = []
        for name, pool in sorted(self.server.pools().items()):
            serving = [life for life in self.nodes.lives.values() if life.pool == f"{NAMESPACE}/{name}" and life.serving and not life.going]
            if len(serving) < (wanted := self.size(pool)):
                found.append(f"{name} has {len(serving)} of {wanted} capsules")
        return found

    async def until(self, seconds: float, left: Callable[[], list[str]]) -> None:
        """Until nothing is left."""
        deadline = self.now() + seconds
        while found := left():
            assert self.now() < deadline, f"not within {seconds:g} s: {'; '.join(found)}"
            await self.elapse(1)

    async def _calm(self) -> None:
        for name, value in vars(Weather()).items():
            setattr(self.weather, name, value)
        self.server.refuse, self.server.pods_most = None, None
        for process in self.running():
            if process.client.usurps:
                self.crash(process)
        await self.elapse(60)  # What was begun comes to its end.
        self.weather.away, self.server.refuse, self.calm = False, None, True
        self._replace()
        self.plane.heal()
        self.nodes.heal()
        for name in NAMES:
            self.plane.calls.rate(f"{NAMESPACE}/{name}", 0.0)
        for capsule in list(self.plane.capsules.values()):
            self.plane.counts(capsule.life, 0, 0)
        if not any(replica.named for replica in self.plane.replicas):
            self.plane.replicas[0].named = True

    def unlike(self) -> list[str]:
        """What isn't as it should be."""
        found = []
        named = [replica for replica in self.plane.replicas if replica.named]
        for name in sorted(self.server.pools()):
            found += [f"{name}: {each}" for each in self._unlike(self.server.pools()[name])]
        for replica in named:
            if replica.held.keys() != {f"{NAMESPACE}/{name}" for name in self.server.pools()}:
                found.append(f"{replica.name} holds {sorted(replica.held)}")
        owners = {each["metadata"]["uid"] for each in self.server.pools().values()}
        for name, pod in sorted(self.server.pods().items()):
            if rules.owner(pod) not in owners and rules.uid(pod) in self.rules.ours:
                found.append(f"{name} is left over")
        return found

    def _unlike(self, pool: Object) -> Iterator[str]:
        metadata, spec = pool["metadata"], pool["spec"]
        status = pool.get("status") or {}
        every = [each for each in self.server.pods().values() if rules.owner(each) == metadata["uid"]]
        wanted = self.size(pool)
        paused = (spec.get("rollout") or {}).get("paused")
        good = [each for each in rules.active(every) if rules.ready(each)]
        if not len(every) == len(good) == wanted:
            yield f"{len(every)} pods, {len(good)} of them ready, {wanted} wanted"
            return
        updated = sum(1 for each in every if rules.template(each) == pool_hash(pool_view(pool)))
        if updated < wanted and not paused:
            yield f"{updated} of {wanted} updated"
            return
        counts = {
            "observedGeneration": metadata["generation"],
            "syncedGeneration": metadata["generation"],
            "replicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
            "updatedReplicas": updated,
            "desiredReplicas": wanted,
            "workers": wanted,
            "totalSlots": wanted,
        }
        for field, value in counts.items():
            if status.get(field) != value:
                yield f"status.{field} is {status.get(field)}, not {value}"
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        expected = {"Available": "True" if wanted else "False", "Degraded": "False", "Progressing": "False", "Synced": "True"}
        for type_, value in expected.items():
            found = conditions.get(type_, {})
            if found.get("status") != value:
                yield f"{type_} is {found.get('status')}: {found.get('reason')} {found.get('message')}"
            elif found.get("observedGeneration") != metadata["generation"]:
                yield f"{type_} speaks of another generation"

    async def end(self) -> None:
        """Told to stop, each stops, and leaves the Lease."""
        running = self.running()
        for process in running:
            process.stop.set()
        tasks = [process.task for process in running if process.task is not None]
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=60)
            assert not left, f"{left} don't stop"
        self.check()


class _NoHealth:
    """Of a port there is none."""

    def __init__(self, address: str) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def set_alive(self, alive: bool) -> None: ...
    async def set_ready(self, ready: bool) -> None: ...


@contextlib.contextmanager
def edges(world: World, seed: int) -> Iterator[None]:
    """The operator's program, without a real clock, chance, watch, port and control plane."""
    loop = asyncio.get_running_loop()

    def unix() -> float:
        return world.now() + CURRENT.get().skew

    async def watch(namespaces: tuple[str, ...], on_wake: Callable[[str], None], until_defined: Callable[[], Awaitable[None]]) -> None:
        await until_defined()
        process = CURRENT.get()
        process.wake = on_wake
        for name in world.server.pools():
            on_wake(f"{NAMESPACE}/{name}")
        try:
            await loop.create_future()
        finally:
            process.wake = None

    def fleet(on_change: OnChange, is_short: IsShort) -> Fleet:
        client = CURRENT.get().client

        def connect(address: str) -> Any:
            return world.plane.connect(address, client)

        async def look_up(_target: str) -> set[str]:
            return await world.plane.look_up()

        return Fleet("plane:7800", on_change, is_short=is_short, connect=connect, look_up=look_up)

    def lead(kube: Kube, settings: Settings) -> Controller:
        CURRENT.get().client.reign += 1
        return Controller(kube, settings, fleet=fleet, watching=watch, now=unix)

    replaced: list[tuple[Any, str, Any]] = [
        (leases, "_stamp", lambda: f"{loop.time():.6f}"),
        (leases, "RETRY_SECONDS", 4.0),
        (apply, "datetime", SimpleNamespace(now=lambda zone: datetime.fromtimestamp(unix(), zone))),
        (main, "HEALTH_SECONDS", 30.0),
        (main, "HealthServer", _NoHealth),
        (main, "Controller", lead),
        (controller, "_WORKERS", 2),  # More of them than pools only wake each other.
    ]
    with contextlib.ExitStack() as stack:
        for target, name, value in replaced:
            stack.enter_context(patch.object(target, name, value))
        random.seed(seed)
        yield
