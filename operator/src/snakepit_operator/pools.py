"""Pools as the API server has them, for those who ask any replica of the operator about them, the leader or not. It decides nothing.

What was read is kept until the watch says that it has changed, and for KEEP_SECONDS at most: a watch may miss something.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

from snakepit.spec.fields import SnakePool
from snakepit_operator.kube import POOLS, Kube, KubeError
from snakepit_operator.observe import Found, find, found
from snakepit_operator.wake import until, watch_forever

KEEP_SECONDS = 60.0

_Reading = asyncio.Task[Found | None]


class Pools:
    """Reads pools of `namespaces` (empty: of all). Many who ask for one at the same time make one request."""

    def __init__(self, kube: Kube, namespaces: tuple[str, ...]) -> None:
        self._kube = kube
        self.namespaces = namespaces
        self._read: dict[str, tuple[float, _Reading]] = {}
        self._listening: dict[str, set[asyncio.Event]] = {}

    async def run(self) -> None:
        """Watch, until cancelled."""
        await watch_forever(self.namespaces, self.wake, partial(until, self._is_listed), pods=False, tell=self._kube.tell)

    def wake(self, name: str, version: str = "") -> None:
        """The pool `namespace/name` has changed; or, where it is empty, perhaps any."""
        for each in [name] if name else [*self._read, *self._listening]:
            self._read.pop(each, None)
            for changed in self._listening.get(each, ()):
                changed.set()

    async def labelled(self, namespace: str, selector: str) -> list[SnakePool]:
        """Those of the namespace that have these labels, as they are now. Raises as `get` does."""
        return [each.pool for raw in await self._kube.list(POOLS, namespace, selector) if (each := found(raw)) is not None]

    async def get(self, name: str) -> SnakePool | None:
        """The pool `namespace/name`, with its status; None: it is gone or going. Raises KubeError, and msgspec.ValidationError."""
        now = asyncio.get_running_loop().time()
        since, reading = self._read.get(name, (0.0, None))
        if reading is None or now - since > KEEP_SECONDS:
            reading = asyncio.create_task(find(self._kube, name), name=f"read {name}")
            reading.add_done_callback(lambda done: self._keep(name, done))
            self._read[name] = now, reading
        there = await asyncio.shield(reading)
        return None if there is None else there.pool

    def _keep(self, name: str, done: _Reading) -> None:
        """Only what is there is kept."""
        is_there = not done.cancelled() and done.exception() is None and done.result() is not None
        if not is_there and self._read.get(name, (0.0, None))[1] is done:
            del self._read[name]

    @contextlib.contextmanager
    def changes(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever that pool has changed."""
        changed = asyncio.Event()
        listening = self._listening.setdefault(name, set())
        listening.add(changed)
        try:
            yield changed
        finally:
            listening.discard(changed)
            if not listening:
                self._listening.pop(name, None)

    async def _is_listed(self) -> bool:
        with contextlib.suppress(KubeError):
            for namespace in self.namespaces or (None,):
                await self._kube.list(POOLS, namespace)
            return True
        return False
