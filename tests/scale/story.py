"""What the API server tells of pools and pods, with the time at which it came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp

from snakepit_operator.pods import POOL_LABEL
from tests.support.api_server import ADMIN, ApiServer

RETRY_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""So often at least everybody is looked after who should be alive."""


class Story:
    """Newest state of each pool and pod by `namespace/name`. `check` raises for what has failed meanwhile.

    `most`: the most pods of a pool at once that were not on their way out.
    """

    def __init__(self, server: ApiServer, check: Callable[[], None]) -> None:
        self._server, self._check = server, check
        self.pools: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.observed: dict[tuple[str, int], float] = {}
        """When a status first spoke of a generation."""
        self.created: dict[str, list[float]] = {}
        """When pods of a pool came to be."""
        self.ready_at: dict[str, float] = {}
        """When a pod of a pool became ready last."""
        self.most: dict[str, int] = {}
        self.begun: list[str] = []
        """Pods in the order in which their deletion began."""
        self._active: dict[str, set[str]] = {}
        self._ready: dict[str, set[str]] = {}
        self.least: dict[str, int] = {}
        """The fewest ready pods of a pool, once one of them had gone."""
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 300.0) -> float:
        """When it was so."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._check()
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {what}") from None
        return time.monotonic()

    def settled(self, pools: int, capsules: int) -> bool:
        """Are there so many pools, and do all their statuses say that so many capsules of theirs are there and nothing is to be done?"""
        return len(self.pools) == pools and all(_is_settled(each, capsules) for each in self.pools.values())

    async def follow(self) -> None:
        tls = ssl.create_default_context(cafile=self._server.certificate)
        async with aiohttp.ClientSession(
            self._server.url,
            headers={"Authorization": f"Bearer {ADMIN}"},
            connector=aiohttp.TCPConnector(ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        ) as session:
            pools, pods = "/apis/snakepit.dev/v1alpha1/snakepools", "/api/v1/pods"
            await asyncio.gather(self._forever(session, pools, self._pool), self._forever(session, pods, self._pod))

    async def _forever(self, session: aiohttp.ClientSession, path: str, take: Callable[[dict[str, Any], bool], None]) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async for event in changes(session, path):
                    take(event["object"], event["type"] == "DELETED")
                    self._changed.set()
            await asyncio.sleep(RETRY_SECONDS)

    def _pool(self, pool: dict[str, Any], gone: bool) -> None:
        name = _name(pool)
        self.pools[name] = pool
        seen = (pool.get("status") or {}).get("observedGeneration")
        if seen is not None:
            self.observed.setdefault((name, seen), time.monotonic())

    def _pod(self, pod: dict[str, Any], gone: bool) -> None:
        name, pool = _name(pod), f"{pod['metadata']['namespace']}/{pod['metadata']['labels'][POOL_LABEL]}"
        active, going = self._active.setdefault(pool, set()), gone or "deletionTimestamp" in pod["metadata"]
        if name not in self.pods and not going:
            self.created.setdefault(pool, []).append(time.monotonic())
        if going and name in active:
            self.begun.append(name)
        (active.discard if going else active.add)(name)
        self.most[pool] = max(self.most.get(pool, 0), len(active))
        ready = self._ready.setdefault(pool, set())
        was = len(ready)
        (ready.add if not going and _is_ready(pod) else ready.discard)(name)
        if len(ready) > was:
            self.ready_at[pool] = time.monotonic()
        if len(ready) < was:
            self.least[pool] = min(self.least.get(pool, was), len(ready))
        self.pods[name] = pod

    def ready(self, pool: str) -> int:
        """How many its status says are ready."""
        return int((self.pools[pool].get("status") or {}).get("readyReplicas", 0))

    def active(self, pool: str) -> set[str]:
        """Its pods that are not on their way out."""
        return self._active.get(pool, set())


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in (pod.get("status") or {}).get("conditions") or ())


def _is_settled(pool: dict[str, Any], capsules: int) -> bool:
    status = pool.get("status") or {}
    counts = [status.get(each) for each in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")]
    is_new = status.get("observedGeneration") == status.get("syncedGeneration") == pool["metadata"]["generation"]
    return is_new and counts == [capsules] * 4 and status.get("reason") == "Ready"


def _name(found: dict[str, Any]) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


async def changes(session: aiohttp.ClientSession, path: str) -> AsyncIterator[dict[str, Any]]:
    """What is there, as LISTED, and then what changes, until the connection ends."""
    query = {"labelSelector": POOL_LABEL} if path.endswith("pods") else {}
    async with session.get(path, params=query) as response:
        response.raise_for_status()
        listed = await response.json()
    for each in listed["items"]:
        yield {"type": "LISTED", "object": each}
    query |= {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
    async with session.get(path, params=query) as response:
        response.raise_for_status()
        async for line in _lines(response):
            event = json.loads(line)
            if event["type"] == "ERROR":
                return
            yield event


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Of any length."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
