"""What harms a release, staged: each incident goes on until whoever is on call has followed all the alerts that it raises.

Those that can happen at once do, each to a pool of its own, so that nobody waits for one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from snakepit import Client, Pool, SnakepitError, ToolError

from . import a_day
from .admin import Admin
from .alertmanager import Told
from .capsules import frozen, ready
from .dev_server import Program
from .eventually import eventually
from .on_call import Finding, follow, told
from .scraped import Scene
from .tasks import task

Findings = dict[str, Finding]

MOST_ALERTS = 24
MOST_SHELLS = 2
PAUSE_SECONDS = 0.1
"""Of a caller between two calls."""
SESSIONS = 4
CROWD = 4
"""Programs that call without a pause."""
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/snakepit-operator"
POOLS: dict[str, dict[str, Any]] = {
    "broken": {"replicas": 1, "worker": {"adapter": "support.day_tools:Broken"}, "queue": {"timeoutSeconds": 0.5}},
    "full": {"replicas": 0, "worker": {"adapter": "support.sample:Sample"}, "session": {"maxSessions": SESSIONS}},
    "small": {
        "replicas": 1,
        "worker": {"adapter": "support.sample:Sample", "processes": 1},
        "queue": {"maxSize": 3, "timeoutSeconds": 60},
    },
    "slow": {"replicas": 1, "worker": {"adapter": "support.sample:Sample", "processes": 1}, "queue": {"timeoutSeconds": 60}},
    "silent": {"replicas": 3, "worker": {"adapter": "support.sample:Sample", "processes": 1}, "heartbeat": a_day.HEARTBEAT},
}
"""Beside those of the day."""


class Incidents:
    """Of that release. `folder` makes one of that name."""

    def __init__(self, day: Scene, admin: Admin, client: Client, folder: Callable[[str], Path]) -> None:
        self._day, self._admin, self._client, self._folder = day, admin, client, folder
        self._waiting, self._shells = ThreadPoolExecutor(MOST_ALERTS), ThreadPoolExecutor(MOST_SHELLS)

    def end(self) -> None:
        for each in (self._waiting, self._shells):
            each.shutdown()

    def pool(self, name: str) -> Pool:
        return self._client.pool(f"{a_day.NAMESPACE}/{name}")

    async def _told(self, pool: str, *alerts: str) -> list[Told]:
        """Somebody has been told of each."""
        name, loop = f"{a_day.NAMESPACE}/{pool}" if pool else "", asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(self._waiting, told, self._day, each, name) for each in alerts)))

    async def _followed(self, alerts: list[Told]) -> Findings:
        """Each in a shell of its own."""
        names, loop = [each.labels["alertname"] for each in alerts], asyncio.get_running_loop()
        folders = [self._folder(name) for name in names]
        opened = (loop.run_in_executor(self._shells, follow, self._day, *each) for each in zip(alerts, folders, strict=True))
        return dict(zip(names, await asyncio.gather(*opened), strict=True))

    async def at_pools(self) -> Findings:
        """All that can go wrong with pools while the rest of the release is well."""
        for name, spec in POOLS.items():
            await self._admin.make_pool(name, **spec)
        staged: list[Coroutine[Any, Any, Findings]] = [
            self._a_version_does_not_start(),
            self._workers_crash(),
            self._a_pool_is_too_small(),
            self._a_tool_hangs(),
            self._sessions_fill_up(),
            self._capsules_fall_silent(),
        ]
        found = _all(await asyncio.gather(*staged))
        for name in POOLS:
            await self._admin.delete("snakepools", name)
        return found

    async def _a_version_does_not_start(self) -> Findings:
        """Its callers come by HTTP."""
        url = f"http://{self._day.release.gateway_address}/v1/pools/{a_day.NAMESPACE}/broken/tools/never"
        async with httpx.AsyncClient(timeout=60) as http, task(_again(lambda: http.post(url, json={}))):
            of_the_pool = await self._told("broken", "SnakepitPoolDown", "SnakepitPoolDegraded")
            return await self._followed([*of_the_pool, *await self._told("", "SnakepitGatewayErrors")])

    async def _workers_crash(self) -> Findings:
        """Of a pool that promises 99 %, and where strict sessions have workers."""
        digits = self.pool("digits")
        for number in range(2):
            async with digits.session(f"strict-{number}", affinity="strict_queue") as session:
                await a_day.fails("WORKER_LOST", session.call("exit", {"code": 9}, timeout=20))
                await a_day.fails("SESSION_WORKER_UNAVAILABLE", session.call("add", {"a": 1}, timeout=20))
        names = ("WorkersCrashing", "CallsFailing", "SessionsLost", "ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly")
        async with task(_again(lambda: digits.call("exit", {"code": 9}, timeout=20))):
            alerts = await self._told("digits", *(f"Snakepit{each}" for each in names))
        return await self._followed(alerts)

    async def _a_pool_is_too_small(self) -> Findings:
        """Somebody's calls take the only slot, and more come than may wait."""
        small = self.pool("small")
        async with contextlib.AsyncExitStack() as crowd:
            for _ in range(8):
                await crowd.enter_async_context(task(_again(lambda: small.call("sleep", {"seconds": 1}, timeout=60))))
            return await self._followed(await self._told("small", "SnakepitCallsRefused", "SnakepitPoolSaturated"))

    async def _a_tool_hangs(self) -> Findings:
        slow = self.pool("slow")
        async with task(_again(lambda: slow.call("sleep", {"seconds": 3600}, timeout=0.3))):
            return await self._followed(await self._told("slow", "SnakepitDeadlinesExceeded"))

    async def _sessions_fill_up(self) -> Findings:
        full = self.pool("full")
        for number in range(SESSIONS):
            await eventually(partial(_made, full, number), "a session is made")
        return await self._followed(await self._told("full", "SnakepitSessionsNearlyFull"))

    async def _capsules_fall_silent(self) -> Findings:
        """All of a pool's, as if all nodes had died. They come back, as otherwise nobody could delete them here."""
        silent = self.pool("silent")
        await ready(silent, 3)
        self._day.kubelet.without_room.add("silent")
        capsules = [each for each in self._day.kubelet.capsules.values() if each.pool == silent.name]
        async with contextlib.AsyncExitStack() as stack:
            for each in capsules:
                await stack.enter_async_context(frozen(each.agent.process.pid))
            return await self._followed(await self._told("silent", "SnakepitCapsulesLost"))

    async def at_components(self) -> Findings:
        """What needs neither operator nor gateway, while both are away."""
        return _all(await asyncio.gather(self._operator_and_gateway_end(), self._callers_are_too_many()))

    async def _operator_and_gateway_end(self) -> Findings:
        release = self._day.release
        release.operator.end()
        release.gateway.end()
        found = await self._followed(await self._told("", "SnakepitOperatorDown", "SnakepitGatewayDown"))
        release.start_operator()
        release.start_gateway()
        return found

    async def _callers_are_too_many(self) -> Findings:
        """More calls come than the replica's one event loop can do. They have several, as each program of theirs has one."""
        pool = f"{a_day.NAMESPACE}/digits"
        with contextlib.ExitStack() as crowd:
            for _ in range(CROWD):
                crowd.callback(Program(sys.executable, "-m", "support.busy_callers", self._day.release.address, pool).end)
            return await self._followed(await self._told("", "SnakepitControlPlaneSaturated"))

    async def with_a_slow_store_and_an_operator_without_rights(self) -> Findings:
        async with task(self._day.release.redis.answer_slowly()), self._a_right_is_gone(), task(self._edited()):
            return await self._followed(await self._told("", "SnakepitStoreSlow", "SnakepitOperatorFailing"))

    @contextlib.asynccontextmanager
    async def _a_right_is_gone(self) -> AsyncIterator[None]:
        """The operator can't write what it thinks of a pool."""
        rules = (await self._admin.ask("GET", ROLE))["rules"]
        await self._admin.merge(ROLE, {"rules": [each for each in rules if each["resources"] != ["snakepools/status"]]})
        try:
            yield
        finally:
            await self._admin.merge(ROLE, {"rules": rules})

    async def _edited(self) -> None:
        """Somebody tries one value after another, so that there is something to write."""
        for size in itertools.cycle((3, 4)):
            await self._admin.edit("tiny", queue={"maxSize": size})
            await asyncio.sleep(1)


def _all(found: Iterable[Findings]) -> Findings:
    return dict(itertools.chain.from_iterable(each.items() for each in found))


async def _again(call: Callable[[], Awaitable[object]]) -> None:
    """One call after the other, however they end."""
    while True:
        with contextlib.suppress(SnakepitError, ToolError, httpx.TransportError):
            await call()
        await asyncio.sleep(PAUSE_SECONDS)


async def _made(pool: Pool, number: int) -> bool:
    """The control plane hears of a new pool a moment later."""
    with contextlib.suppress(SnakepitError):
        await pool.session(f"guest-{number}").create()
        return True
    return False
