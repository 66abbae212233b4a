"""Whose a pool is, where several releases watch one namespace: the one that wrote its mark first, until that release is uninstalled.

The mark is the pool's `status.release`: namespace and name of the operator's Lease. The chart makes the Lease, so it goes with the release.
"""

from __future__ import annotations

import time

from snakepit_operator.kube import LEASES, POOLS, Kube, KubeError

BELIEVED_SECONDS = 30.0
"""That another release exists is asked this often at most, however many pools it has."""


class Claims:
    """`me` is our own mark."""

    def __init__(self, kube: Kube, me: str) -> None:
        self._kube = kube
        self.me = me
        self._there: dict[str, float] = {}

    def is_others(self, release: str | None) -> bool:
        """By the mark alone: somebody else looks after that pool, or did."""
        return bool(release) and release != self.me

    async def holder(self, namespace: str, name: str, release: str | None, version: str) -> str:
        """The release that has the pool; ours after it was nobody's, or its release is gone. Raises KubeError, a conflict among them.

        `release` and `version` (resourceVersion) are of the pool as it was read.
        """
        if release and (release == self.me or await self._is_there(release)):
            return release
        await self._kube.merge_status(POOLS, namespace, name, {"release": self.me}, version)
        return self.me

    async def _is_there(self, release: str) -> bool:
        """One that may not be asked for counts as there: two operators at one pool are worse than none."""
        now = time.monotonic()
        if now < self._there.get(release, 0.0):
            return True
        namespace, _, name = release.partition("/")
        try:
            await self._kube.get(LEASES, namespace, name)
        except KubeError as error:
            if error.missing:
                self._there.pop(release, None)
                return False
            if not error.refused:
                raise
        self._there = {**{each: until for each, until in self._there.items() if now < until}, release: now + BELIEVED_SECONDS}
        return True
