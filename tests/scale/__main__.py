"""`make scale`: 200 pools of 5 capsules at a real API server, 1,000 capsules in one pool, 10,000 workers at two replicas: what each costs.

SCALE_ONLY=pools,large,workers plays some of it; SCALE_POOLS, SCALE_CAPSULES, SCALE_LARGE and SCALE_CHANGES change the numbers. Seconds of
CPU are those of one process. Other seconds are of the clock, and depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from snakepit_operator.views import RECENT_SECONDS
from tests.bench.rounds import say
from tests.bench.rows import COLUMNS, Row, Target, as_table
from tests.scale import workers
from tests.scale.cluster import REPLICAS, Cluster, cluster
from tests.scale.story import Story
from tests.support.admin import Admin, namespaced

ONLY = os.environ.get("SCALE_ONLY", "pools,large,workers").split(",")
POOLS = int(os.environ.get("SCALE_POOLS", "200"))
CAPSULES = int(os.environ.get("SCALE_CAPSULES", "5"))
LARGE = int(os.environ.get("SCALE_LARGE", "1000"))
CHANGES = int(os.environ.get("SCALE_CHANGES", "200"))
WORKERS = 2
NODES = 20
SETTLED_SECONDS = 60.0
PAUSE_SECONDS = 0.3
SPIKE_SECONDS = 60.0
LOOK_SECONDS = 5.0
CALM_SECONDS = RECENT_SECONDS + 10.0
"""A new pool's status changes once more, when nobody can have called it lately."""
PATIENCE_SECONDS = 1800.0
"""On a machine that does much else."""


async def nodes(admin: Admin) -> None:
    capacity = {"cpu": "1000", "memory": "4000Gi", "pods": "2000"}
    status = {"capacity": capacity, "allocatable": capacity}
    for number in range(NODES):
        name = f"node-{number}"
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{number % 3}"}}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
        await admin.ask("POST", "/api/v1/nodes", body)
        # That it isn't ready yet, the API server notes on every new node.
        await admin.merge(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Play:
    """What happens in one cluster. `rows` is what was reached."""

    def __init__(self, made: Cluster, admin: Admin, story: Story) -> None:
        self.made, self.admin, self.story = made, admin, story
        self.rows: list[Row] = []

    def note(self, what: str, value: float, unit: str, relation: str, target: float, note: str = "") -> None:
        self.rows.append(Row(what=what, figure=value, unit=unit, value=value, target=Target(relation, target, unit), note=note))
        say(f"{what}: {value:.3g} {unit} {note}")

    async def spend(self, seconds: float) -> tuple[dict[str, float], Counter[str]]:
        """Each process's share of a core, and the operator's requests meanwhile, without those for its Lease."""
        names, asked, began = list(self.made.processes), len(self.made.requests()), time.monotonic()
        before = {each: self.made.cpu_seconds(each) for each in names}
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        shares = {each: (self.made.cpu_seconds(each) - before[each]) / took for each in names}
        return shares, Counter(each for each in self.made.requests()[asked:] if "leases" not in each)

    async def pools(self) -> None:
        await self._create()
        await self._settled()
        await self._change()
        await self._restart()

    async def _create(self) -> None:
        began = time.monotonic()
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            async with gate:
                await self.admin.make_pool(f"pool-{number}", replicas=CAPSULES)

        await asyncio.gather(*map(one, range(POOLS)))
        await self.story.until(lambda: self.story.settled(POOLS, CAPSULES), f"{POOLS} pools are settled", PATIENCE_SECONDS)
        cpu, asked, took = self.made.cpu_seconds("operator"), len(self.made.requests()), time.monotonic() - began
        self.note(f"operator's CPU to create {POOLS} pools", cpu, "s", "≤", 60, f"{took:.0f} s by the clock, {asked} requests")

    async def _settled(self) -> None:
        await asyncio.sleep(CALM_SECONDS)
        shares, asked = await self.spend(SETTLED_SECONDS)
        self.note("operator, settled", 100 * shares["operator"], "% of a core", "≤", 10)
        self.note("requests by settled pool and minute", asked.total() / POOLS / (SETTLED_SECONDS / 60), "", "≤", 1, str(dict(asked)))
        self.note("operator's memory, at most", self.made.mebibytes("operator", "VmHWM"), "MiB", "≤", 250)
        self.note("replica, settled", 100 * max(shares[f"replica-{n}"] for n in range(REPLICAS)), "% of a core", "≤", 20)

    async def _change(self) -> None:
        """One pool's size after the other's, up and down: until its status says so, and until its pod is there."""
        observed, created, ready = [], [], []
        cpu, asked = self.made.cpu_seconds("operator"), len(self.made.requests())
        names = [f"pool-{number % POOLS}" for number in range(CHANGES)]
        random.shuffle(names)
        for short in names:
            name = f"{self.admin.namespace}/{short}"
            grows, pods = self.story.pools[name]["spec"]["replicas"] == CAPSULES, len(self.story.created[name])
            began = time.monotonic()
            answer = await self.admin.edit(short, replicas=CAPSULES + 1 if grows else CAPSULES)
            key = (name, answer["metadata"]["generation"])
            await self.story.until(lambda key=key: key in self.story.observed, f"{key} is observed")
            observed.append(self.story.observed[key] - began)
            if grows:
                await self.story.until(lambda name=name, pods=pods: len(self.story.created[name]) > pods, f"{name} has a new pod")
                created.append(self.story.created[name][-1] - began)
                await self.story.until(lambda name=name, began=began: self.story.ready_at[name] > began, f"{name}'s new pod is ready")
                told = await self.story.until(lambda name=name: self.story.ready(name) > CAPSULES, f"{name} tells of it")
                ready.append(told - self.story.ready_at[name])
            await asyncio.sleep(PAUSE_SECONDS)
        cpu, asked = (self.made.cpu_seconds("operator") - cpu) / CHANGES, (len(self.made.requests()) - asked) / CHANGES
        for what, values in (
            ("a change until the status tells", observed),
            ("a change until the pod is there", created),
            ("a pod's readiness until the status tells", ready),
        ):
            median = f"p50 {statistics.median(values):.2g} s, of {len(values)}"
            self.note(f"from {what}, p99", percentile(values, 0.99), "s", "≤", 1, median)
        self.note("operator's CPU for a change", 1000 * cpu, "ms", "≤", 200, f"{asked:.1f} requests")

    async def _restart(self) -> None:
        """The API server is killed and comes back: every watch has to begin anew, from a place that is no more."""
        await asyncio.to_thread(self.made.server.down)
        await asyncio.to_thread(self.made.server.up)
        worst, asked = 0.0, Counter[str]()
        for _ in range(int(SPIKE_SECONDS / LOOK_SECONDS)):
            shares, more = await self.spend(LOOK_SECONDS)
            worst, asked = max(worst, shares["operator"]), asked + more
        self.note(f"operator after a restart of the API server, worst {LOOK_SECONDS:g} s", 100 * worst, "% of a core", "≤", 50)
        self.note("requests by pool in the minute after it", asked.total() / POOLS, "", "≤", 2, str(dict(asked)))
        self.note("operator's memory then, at most", self.made.mebibytes("operator", "VmHWM"), "MiB", "≤", 250)

    async def large(self) -> None:
        """One pool, created and rolled: what there is at most and at least, and which go first."""
        name = f"{self.admin.namespace}/large"
        await self.admin.make_pool("large", replicas=LARGE)
        await self.story.until(lambda: self.story.settled(1, LARGE), f"{LARGE} capsules are ready", PATIENCE_SECONDS)
        first, cpu, began = set(self.story.active(name)), self.made.cpu_seconds("operator"), time.monotonic()
        await self.admin.edit("large", image="example/digits:2")
        await self.story.until(
            lambda: self.story.settled(1, LARGE) and not first & self.story.active(name), "all are of the new template", PATIENCE_SECONDS
        )
        took, cpu = time.monotonic() - began, self.made.cpu_seconds("operator") - cpu
        surge = -(-LARGE // 4)
        self.note(f"capsules at once in a rollout of {LARGE}", self.story.most[name], "", "≤", LARGE + surge)
        self.note("ready capsules in it, at least", self.story.least[name], "", "≥", LARGE)
        misplaced = out_of_order([int(each.split("-")[-2]) for each in self.story.begun], surge)
        self.note("capsules that went before one of a higher ordinal", misplaced, "", "≤", 0, f"of {len(self.story.begun)}")
        self.note("operator's CPU for the rollout", cpu, "s", "≤", 120, f"{took:.0f} s by the clock")
        self.note("operator's memory, at most", self.made.mebibytes("operator", "VmHWM"), "MiB", "≤", 250)


def out_of_order(ordinals: list[int], together: int) -> int:
    """How many stand before a higher one that wasn't deleted with them: so many at most go in one look."""
    return sum(1 for place, each in enumerate(ordinals) if max(ordinals[place + together :], default=-1) > each)


@contextlib.asynccontextmanager
async def playing(made: Cluster) -> AsyncIterator[Play]:
    async with namespaced(made.server) as admin:
        await nodes(admin)
        story = Story(made.server, made.alive)
        following = asyncio.create_task(story.follow())
        try:
            yield Play(made, admin, story)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def played(scene: Callable[[Play], Awaitable[None]]) -> list[Row]:
    """What was reached in a cluster of its own."""

    async def play(made: Cluster) -> list[Row]:
        async with playing(made) as running:
            await scene(running)
            return running.rows

    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), WORKERS) as made:
        try:
            return asyncio.run(play(made))
        except BaseException:
            for name in made.processes:
                say(f"== {name}\n" + (Path(folder) / f"{name}.log").read_text()[-3000:])
            raise


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Or what was started would outlive us.
    scenes: dict[str, Callable[[], list[Row]]] = {
        "pools": lambda: played(Play.pools),
        "large": lambda: played(Play.large),
        "workers": lambda: asyncio.run(workers.rows()),
    }
    rows = [row for name, scene in scenes.items() if name in ONLY for row in scene()]
    table = Table()
    for column in COLUMNS:
        table.add_column(column)
    for cells in as_table(rows):
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 180, highlight=False).print(table)


if __name__ == "__main__":
    main()
