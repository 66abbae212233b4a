"""A day in the life of a release: its pools are called, crowded, harmed and mended, so that everything that is counted has been counted.

Each hour is an event that a person could tell of. Nobody waits for a clock: an hour ends when it has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import httpx
import pytest

from snakepit import Client, Pool, SnakepitError, ToolError
from snakepit.client.views import WorkerInfo

from .admin import Admin
from .capsules import frozen, ready
from .eventually import eventually
from .release import Kubelet, Release

NAMESPACE = "shop"
MOST_TRIES = 20
MORNING_SECONDS = 60.0
"""Until everything has started, all at once."""
MOST_SESSIONS = 8
HEARTBEAT = {"intervalSeconds": 0.5, "timeoutSeconds": 5}
POOLS: dict[str, dict[str, Any]] = {
    "digits": {
        "replicas": 2,
        "worker": {"adapter": "support.day_tools:Digits", "processes": 2},
        "heartbeat": HEARTBEAT,
        "restart": {"maxRestarts": 1000},
        "slo": {"availabilityPercent": 99, "latencyMilliseconds": 5000, "latencyPercent": 99},
        "session": {"maxSessions": MOST_SESSIONS},
    },
    "tiny": {
        "replicas": 1,
        "worker": {"adapter": "support.sample:Sample", "processes": 1},
        "queue": {"maxSize": 3, "timeoutSeconds": 0.5},
    },
}


async def make(admin: Admin) -> None:
    for name, spec in POOLS.items():
        await admin.make_pool(name, **spec)


class Watch(Protocol):
    """Whoever scrapes the release meanwhile."""

    async def look(self) -> None:
        """Everything that runs now is scraped once more."""

    async def saw(self, histogram: str) -> bool:
        """It grew just now, between two scrapes."""


class Day:
    """Of that release, as a client sees it; `admin` is the cluster's."""

    def __init__(self, release: Release, kubelet: Kubelet, admin: Admin, client: Client, watch: Watch) -> None:
        self.release, self.kubelet, self.admin, self.client, self.watch = release, kubelet, admin, client, watch
        self.digits, self.tiny = (client.pool(f"{NAMESPACE}/{name}") for name in POOLS)

    async def pass_by(self) -> None:
        await self.everybody_comes_to_work()
        await self.calls_end_in_every_way()
        await self.calls_run_once()
        await self.a_call_is_sent_again()
        await self.some_calls_come_back()
        await self.tools_call_tools()
        await self.a_pool_is_too_small()
        await self.sessions_come_and_go()
        await self.people_come_over_http()
        await self.workers_are_replaced()
        await self.a_start_is_seen()
        await self.a_capsule_falls_silent()
        await self.the_store_is_away()
        await self.people_come_over_http()
        await self.the_pool_shrinks()

    async def everybody_comes_to_work(self) -> None:
        """What happens before the first scrape of a program is no increase to Prometheus."""
        for pool, workers in ((self.digits, 4), (self.tiny, 1)):
            await ready(pool, workers, MORNING_SECONDS)
        await self.watch.look()

    async def calls_end_in_every_way(self) -> None:
        for number in range(20):
            assert await self.digits.call("add", {"a": number}) == number + 1
        await fails("TOOL_ERROR", self.digits.call("fail", {"message": "no"}))
        await fails("INVALID_ARGUMENTS", self.digits.call("add", {"a": "many"}))
        await fails("TOOL_NOT_FOUND", self.digits.call("ad", {}))
        await fails("POOL_NOT_FOUND", self.client.pool(f"{NAMESPACE}/none").call("add"))
        await fails("DEADLINE", self.digits.call("spin", timeout=0.3))
        assert [chunk async for chunk in self.digits.stream("count", {"to": 3})] == [0, 1, 2]

    async def calls_run_once(self) -> None:
        for _ in range(2):
            assert await self.digits.call("add", {"a": 1}, idempotency_key="once") == 2

    async def a_call_is_sent_again(self) -> None:
        assert await self.digits.call("dies_once", {"mark": str(self.release.folder / "mark")}) == "done"
        await ready(self.digits, 4)

    async def some_calls_come_back(self) -> None:
        """Short ones are sent ahead of their turn; from a worker that is busy for long, or ends, they come back unbegun."""
        for _ in range(MOST_TRIES):
            short = [self.digits.call("sleep", {"seconds": 0.001}, timeout=20) for _ in range(100)]
            long = [self.digits.call("sleep", {"seconds": 0.3}, timeout=20), self.digits.call("exit", {"code": 0}, timeout=20)]
            await asyncio.gather(*short[:50], *long, *short[50:], return_exceptions=True)
            await ready(self.digits, 4)
            if "snakepit_returned_calls_total{" in await self._scrape("control-plane"):
                return
        raise AssertionError("no call has come back")

    async def _scrape(self, component: str) -> str:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"http://{self.release.metrics[component]}/metrics")).text

    async def tools_call_tools(self) -> None:
        def shout(text: str) -> str:
            return text.upper()

        async with self.client.offer(shout, pool=self.digits):
            assert await self.digits.call("ask", {"name": "shout", "arguments": {"text": "hey"}}) == "HEY"

    async def a_pool_is_too_small(self) -> None:
        """One call runs, three wait, of whom none gets its turn in time; a fifth is refused."""
        async with crowd(self.tiny, 1.5, 5) as calls:
            ended = await asyncio.gather(*calls, return_exceptions=True)
        reasons = sorted(each.reason for each in ended if isinstance(each, SnakepitError))
        assert {"POOL_SATURATED", "QUEUE_TIMEOUT"} <= set(reasons), ended

    async def sessions_come_and_go(self) -> None:
        async with self.digits.session("ann", delete=True) as session:
            await session.call("remember", {"key": "name", "value": "Ann"})
            await fails("WORKER_LOST", session.call("exit", {"code": 3}, timeout=10))
            assert await session.call("recall", {"key": "name"}) == "Ann"
        async with self.digits.session("bob", affinity="strict_queue") as session:
            await fails("WORKER_LOST", session.call("exit", {"code": 3}, timeout=10))
            await fails("SESSION_WORKER_UNAVAILABLE", session.call("add", {"a": 1}, timeout=10))
        self.kept = self.digits.session("eve")
        await self.kept.create()
        async with contextlib.AsyncExitStack() as stack:
            for number in range(MOST_SESSIONS - 2):  # beside Bob's and Eve's
                await stack.enter_async_context(self.digits.session(f"guest-{number}", delete=True))
            await fails("SESSION_QUOTA", self.digits.session("one-too-many").create())

    async def people_come_over_http(self) -> None:
        url = f"http://{self.release.gateway_address}"
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            await eventually(lambda: _status(http, "/v1/pools", 200), "the gateway answers")
            add = f"/v1/pools/{NAMESPACE}/digits/tools"
            assert (await http.post(f"{add}/add", json={"a": 1})).json() == 2
            assert (await http.post(f"{add}/fail", json={"message": "no"})).status_code == 500
            assert (await http.post(f"{add}/count", json={"to": 3}, headers={"Accept": "text/event-stream"})).status_code == 200
            asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
            answer = await http.post(f"/mcp/{NAMESPACE}/digits", json=asked, headers=accept)
            assert answer.status_code == 200, answer.text

    async def workers_are_replaced(self) -> None:
        """One crashes in a call, one is recycled, one is drained."""
        await fails("WORKER_LOST", self.digits.call("exit", {"code": 3}, timeout=10))
        for replace in (self.digits.recycle_worker, self.digits.drain_worker):
            await self._replaced(replace)
        await ready(self.digits, 4)

    async def _replaced(self, replace: Callable[[str], Awaitable[object]]) -> None:
        old = (await ready_workers(self.digits, 4))[0]
        await replace(old.id)
        await eventually(lambda: self._has_gone(old.incarnation), f"{old.id} has been replaced")

    async def a_start_is_seen(self) -> None:
        """Starts are rare, and a quantile needs one between two scrapes of its agent. On a busy machine scrapes fail."""
        for _ in range(MOST_TRIES):
            await self.watch.look()
            await self._replaced(self.digits.recycle_worker)
            await ready(self.digits, 4)
            await self.watch.look()
            if await self.watch.saw("snakepit_worker_setup_duration_seconds"):
                return
        raise AssertionError("no start of a worker was seen between two scrapes")

    async def _has_gone(self, incarnation: str) -> bool:
        return all(each.incarnation != incarnation for each in await self.digits.workers())

    async def a_capsule_falls_silent(self) -> None:
        """Longer than its pool waits for it; then it comes back."""
        capsule = next(each for each in self.kubelet.capsules.values() if each.pool == self.digits.name)
        async with frozen(capsule.agent.process.pid):
            await eventually(lambda: self._are(2), "the silent one is lost", 30)
        await ready(self.digits, 4)

    async def _are(self, count: int) -> bool:
        return len(await self.digits.workers()) == count

    async def the_store_is_away(self) -> None:
        self.release.redis.kill()
        await fails("STORE_UNAVAILABLE", self.kept.call("remember", {"key": "a", "value": 1}, timeout=5))
        await fails("STORE_UNAVAILABLE", self.kept.state.set("a", 1))
        self.release.redis.start()
        await eventually(self._has_sessions, "sessions can be made again", 30)

    async def _has_sessions(self) -> bool:
        with contextlib.suppress(SnakepitError):
            async with self.digits.session("zoe", delete=True):
                return True
        return False

    async def the_pool_shrinks(self) -> None:
        await self.admin.edit("digits", replicas=1)
        await eventually(lambda: self._has_pods(1), "one pod is left", 40)
        await ready(self.digits, 2)
        await self.admin.edit("digits", replicas=2)
        await ready(self.digits, 4)

    async def _has_pods(self, count: int) -> bool:
        return len([each for each in self.kubelet.capsules.values() if each.pool == self.digits.name]) == count


async def ready_workers(pool: Pool, count: int) -> list[WorkerInfo]:
    await ready(pool, count)
    return list(await pool.workers())


async def fails(reason: str, call: Awaitable[object]) -> None:
    """It ends so, and in no other way."""
    with pytest.raises((SnakepitError, ToolError)) as caught:
        await call
    assert caught.value.reason == reason, repr(caught.value)


@contextlib.asynccontextmanager
async def crowd(pool: Pool, seconds: float, count: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """So many calls at once, each of which takes that long where it runs."""
    tasks = [asyncio.create_task(pool.call("sleep", {"seconds": seconds}, timeout=60)) for _ in range(count)]
    try:
        yield tasks
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _status(http: httpx.AsyncClient, path: str, status: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await http.get(path)).status_code == status
    return False
