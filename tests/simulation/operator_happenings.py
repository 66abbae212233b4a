"""What can happen to the cluster of the operator's simulation: people, and harm to operators, replicas, nodes and pods."""

from __future__ import annotations

import asyncio

from simulation import operator_rules as rules
from simulation.operator_api import NAMESPACE, REFUSALS
from simulation.operator_cluster import NAMES, Cluster
from simulation.operator_nodes import TROUBLES, Life

from snakepit_operator.kube import PODS, POOLS, Object
from snakepit_operator.pods import labels
from snakepit_operator.views import pool_view


class Happenings(Cluster):
    """Each draws what it does, and to whom."""

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
        self.later(self.chance.choice([3.0, 20.0]) * self.chance.random(), self.crash, process)

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
