"""Who leads, and whose a pool is: both are said by Leases. Nothing is decided about pools here.

One operator of a release leads, by the release's Lease. The rules are those of client-go's leader election (`LeaseDuration` 15 s,
`RenewDeadline` 10 s, `RetryPeriod` 2 s in k8s.io/client-go/tools/leaderelection/leaderelection.go): a lease counts as expired when *this*
process has seen no change in it for its duration, so clocks of different machines are never compared; and a leader stops when its last
renewal was begun RENEW_SECONDS ago, before anybody else may begin. Only the times are shorter here. As there, a request that is on its
way is not called back: two may act for a moment, and what one of them has made the other one spares for a while (`decide`).

Where several releases watch one namespace, a pool is the one's that wrote its mark first, until that release is uninstalled. The mark is
the pool's `status.release`: namespace and name of the release's Lease. The chart makes the Lease, so it goes with the release.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime

from msgspec import Struct

from snakepit_operator.kube import LEASES, POOLS, Kube, KubeError, Object
from snakepit_operator.observe import Found

LEASE_SECONDS = 10
RENEW_SECONDS = 7.0
"""A leader that could not renew for this long stops leading: sooner than anybody else may begin."""
RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


class Seen(Struct, frozen=True):
    """A lease's content as last read, and when it was first seen so (this process's monotonic clock)."""

    holder: str
    renewed: str
    since: float

    def expired(self, now: float) -> bool:
        """May somebody else take the lease?"""
        return not self.holder or now - self.since > LEASE_SECONDS


def look(lease: Object, before: Seen | None, now: float) -> Seen:
    """What the lease says; `since` is kept while nothing in it changes."""
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
    if before and (before.holder, before.renewed) == (holder, renewed):
        return before
    return Seen(holder, renewed, now)


class Election:
    """Takes the lease and keeps it. `leading` is set while this process is the leader."""

    def __init__(self, kube: Kube, namespace: str, name: str, identity: str) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._seen: Seen | None = None
        self._renewed = 0.0
        self.leading = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()

    async def run(self) -> None:
        """Try to lead, and keep the lead, until cancelled."""
        while True:
            await self.round(asyncio.get_running_loop().time())
            await asyncio.sleep(RETRY_SECONDS)

    async def resign(self) -> None:
        """Give the lease up so that the next one needn't wait for its end."""
        if not self.leading.is_set():
            return
        self._set(False)
        try:
            lease = await self._kube.get(LEASES, self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._kube.replace(LEASES, self._namespace, self._name, lease)
        except KubeError as error:
            log.warning("the lease could not be given up: %s", error)

    async def round(self, now: float) -> None:
        """Take or renew the lease. `now` is of one monotonic clock."""
        left = self._renewed + RENEW_SECONDS - now if self.leading.is_set() else None
        try:
            # An API server that says nothing at all must not make a leader of somebody whose time is over.
            async with asyncio.timeout(left):
                held = await self._try(now)
        except (KubeError, TimeoutError) as error:
            log.warning("the lease %s could not be read or written: %s", self._name, str(error) or "no answer in time")
            held = left is not None and left > 0 and isinstance(error, KubeError)
        else:
            self._renewed = now if held else self._renewed
        self._set(held)

    def _set(self, held: bool) -> None:
        if held != self.leading.is_set():
            log.info("leading" if held else "not leading any more", extra={"identity": self._identity})
        for event, wanted in ((self.leading, held), (self.lost, not held)):
            event.set() if wanted else event.clear()

    async def _try(self, now: float) -> bool:
        try:
            lease = await self._kube.get(LEASES, self._namespace, self._name)
        except KubeError as error:
            if not error.missing:
                raise
            metadata = {"name": self._name, "namespace": self._namespace}
            new = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            return await _won(self._kube.create(LEASES, self._namespace, taken(new, self._identity, _stamp())))
        self._seen = look(lease, self._seen, now)
        if self._seen.holder != self._identity and not self._seen.expired(now):
            return False
        return await _won(self._kube.replace(LEASES, self._namespace, self._name, taken(lease, self._identity, _stamp())))


async def _won(write: Awaitable[object]) -> bool:
    """False: somebody else was sooner."""
    try:
        await write
    except KubeError as error:
        if error.exists or error.conflict:
            return False
        raise
    return True


def taken(lease: Object, identity: str, stamp: str) -> Object:
    """The lease as it is when `identity` takes or renews it at that time; what else is in it stays."""
    spec = lease.get("spec") or {}
    moved = spec.get("holderIdentity") != identity
    is_new = "resourceVersion" not in lease["metadata"]
    return {
        **lease,
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": stamp if moved else spec.get("acquireTime", stamp),
            "renewTime": stamp,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (moved and not is_new),
        },
    }


def _stamp() -> str:
    # The API server wants all six digits, and refuses a time without any fraction.
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def holder(kube: Kube, me: str, found: Found) -> tuple[str, str]:
    """The release that has the pool, and the pool's version then; ours (`me`) after it was nobody's, or its release is gone.

    Raises KubeError, a conflict among them.
    """
    release = found.status.get("release")
    if release and (release == me or await _is_there(kube, release)):
        return str(release), found.version
    metadata = found.pool.metadata
    marked = await kube.apply_status(POOLS, metadata.namespace, metadata.name, found.told({**found.status, "release": me}))
    return me, str(marked["metadata"]["resourceVersion"])


async def _is_there(kube: Kube, release: str) -> bool:
    """One that may not be asked for counts as there: two operators at one pool are worse than none."""
    namespace, _, name = release.partition("/")
    try:
        await kube.get(LEASES, namespace, name)
    except KubeError as error:
        if not (error.missing or error.refused):
            raise
        return error.refused
    return True
