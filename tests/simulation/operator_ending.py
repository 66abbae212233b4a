"""How a run of the operator's simulation ends: all is as it is wanted, the status says so, and it stands a few last trials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from simulation import operator_rules as rules
from simulation.operator_api import NAMESPACE, Weather
from simulation.operator_cluster import NAMES, Cluster

from snakepit_operator.kube import PODS, KubeError, Object
from snakepit_operator.rollout import pool_hash
from snakepit_operator.views import pool_view

SETTLE_SECONDS = 900.0
"""Enough for the longest of all pauses after failures, which is 300 s, to come round."""
QUIET_SECONDS = 65.0
WAIT_SECONDS = 15.0
"""A call that finds no capsule has one within this time."""
STRONG_SECONDS = 20.0
"""From a node's end: ten until its capsules are lost, the rest for new ones to start."""
SHRINK_SECONDS = 120.0
"""From the last call until a pool is as small as it was, where it is told to hold its size for less than half of that."""
MOST_HOLD_SECONDS = 300.0
"""A warm-up keeps a pool from shrinking for so long at most (docs/autoscaling.md)."""


class Ending(Cluster):
    """When all harm is over."""

    async def settle(self) -> None:
        """When faults are over, all is as it is wanted, the status says so, and nobody writes any more."""
        self.note("settle")
        await self._calm()
        await self.until(SETTLE_SECONDS, self.unlike)
        await self.until(SETTLE_SECONDS, lambda: self.waiting(list(self.server.pools())))  # Each that ends changes a status' counts.
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
        await self.unheard()

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
                assert life.uid in replica.drained, f"{life} goes, and {replica.name} sends it calls"
                assert life.uid in replica.evicted, f"{life} is evicted, and {replica.name} doesn't know"
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

    async def unheard(self) -> None:
        """A pool has grown by its calls, and they end; but one replica isn't heard, and may know of others: the pool stays as large."""
        pools = {name: each for name, each in sorted(self.server.pools().items()) if each["spec"].get("autoscaling")}
        named = [replica for replica in self.plane.replicas if replica.named]
        grown = [name for name, each in pools.items() if rules.sizes(each["spec"])[1] > self.size(each)]
        if len(named) < 2 or not grown:
            return
        for name in grown:
            self.plane.calls.rate(f"{NAMESPACE}/{name}", 6.0)
        await self.elapse(15)
        before = {name: self.server.pools()[name]["status"]["desiredReplicas"] for name in grown}
        self.note(f"{named[0].name} is down, {before} capsules are wanted")
        self.plane.kill(named[0])
        await self.elapse(1)
        for name in grown:
            self.plane.calls.rate(f"{NAMESPACE}/{name}", 0.0)
        await self.elapse(40)
        after = {name: self.server.pools()[name]["status"]["desiredReplicas"] for name in grown}
        assert all(after[name] >= before[name] for name in grown), f"{named[0].name} is not heard, and {before} became {after}"
        self.plane.start(named[0])
        await self.until(max(self.shrinks(name) for name in grown), self.unlike)

    def shrinks(self, name: str) -> float:
        """Within how many seconds without calls a pool is small again: it holds its size for its stabilization, and for one warm-up.

        A pod that was stuck for minutes, until there was no trouble any more, is a warm-up of minutes.
        """
        warm_up = min(self.nodes.longest.get(f"{NAMESPACE}/{name}", 0.0), MOST_HOLD_SECONDS)
        hold = max(self.server.pools()[name]["spec"]["autoscaling"]["scaleDownStabilizationSeconds"], warm_up)
        return max(SHRINK_SECONDS, hold + SHRINK_SECONDS / 2)

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
