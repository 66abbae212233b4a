"""A cluster with pools, people who edit them, and operators, one of which leads, or several believe that they do.

The operator's own program runs on a virtual clock: of it only the API server, the watches, the replicas' streams and the port for probes
are replaced. `step` is what can happen, `operator_rules` what must hold whenever something is written, `settle` what must be so in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from simulation.operator_api import NAMESPACE
from simulation.operator_cluster import CURRENT, NAMES
from simulation.operator_ending import Ending
from simulation.operator_happenings import Happenings

from snakepit_operator import apply, leases, main
from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet, IsShort, OnChange
from snakepit_operator.kube import Kube
from snakepit_operator.settings import Settings
from snakepit_operator.telemetry import Telemetry

GAPS = [0.0, 0.0, 0.1, 0.5, 1.0, 3.0, 3.0, 10.0, 10.0, 45.0]
STEPS = 30


class World(Happenings, Ending):
    """One run."""

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

        def connect(address: str, _host: str) -> Any:
            return world.plane.connect(address, client)

        async def look_up(_target: str) -> dict[str, str]:
            return dict.fromkeys(await world.plane.look_up(), "plane")

        return Fleet("plane:7800", on_change, is_short=is_short, connect=connect, look_up=look_up)

    def lead(kube: Kube, settings: Settings, telemetry: Telemetry) -> Controller:
        CURRENT.get().client.reign += 1
        return Controller(kube, settings, fleet=fleet, watching=watch, now=unix, telemetry=telemetry)

    replaced: list[tuple[Any, str, Any]] = [
        (leases, "_stamp", lambda: f"{loop.time():.6f}"),
        (leases, "RETRY_SECONDS", 4.0),
        (apply, "datetime", SimpleNamespace(now=lambda zone: datetime.fromtimestamp(unix(), zone))),
        (main, "HEALTH_SECONDS", 30.0),
        (main, "HealthServer", _NoHealth),
        (main, "Controller", lead),
    ]
    with contextlib.ExitStack() as stack:
        for target, name, value in replaced:
            stack.enter_context(patch.object(target, name, value))
        random.seed(seed)
        yield
