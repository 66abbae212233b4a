"""Reads everything that a decision about one pool rests on: fresh lists, never a cache of somebody else's. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import API_VERSION, KIND, SnakePool
from snakepit_operator.kube import EVENTS, PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.model import CapsuleView, FleetView, PodView, Reason
from snakepit_operator.status import pool_selector
from snakepit_operator.views import pod_view, pool_view, with_fault

MOST_ASKED = 3
"""Of so many pods that hang the events are read at each look, the oldest first: where many hang, they do for one reason."""


class Found(Struct, frozen=True):
    """A pool, with its status and resourceVersion as the API server has them."""

    pool: SnakePool
    status: Object
    version: str

    def told(self, status: Object) -> Object:
        """What is to be written for the pool to have that status, if it is in this very state still.

        The API server takes no notice of a uid there: the version says of which pool it is.
        """
        metadata = {"name": self.pool.metadata.name, "namespace": self.pool.metadata.namespace, "resourceVersion": self.version}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}


async def find(kube: Kube, name: str) -> Found | None:
    """The pool `namespace/name`; None: it is gone or going. Raises KubeError, and msgspec.ValidationError where it can't be read."""
    namespace, _, short = name.partition("/")
    try:
        return found(await kube.get(POOLS, namespace, short))
    except KubeError as error:
        if error.missing:
            return None
        raise


def found(raw: Object) -> Found | None:
    """A pool as it was read or listed; None: it is going. Raises msgspec.ValidationError where it can't be read."""
    metadata = raw["metadata"]
    if metadata.get("deletionTimestamp"):
        return None
    return Found(pool_view(raw), raw.get("status") or {}, metadata.get("resourceVersion", ""))


async def pods_of(kube: Kube, pool: SnakePool) -> tuple[PodView, ...]:
    """The pool's pods, as they are now. Raises KubeError."""
    return owned(await kube.list(PODS, pool.metadata.namespace, pool_selector(pool)), pool)


def owned(raw: Iterable[Object], pool: SnakePool) -> tuple[PodView, ...]:
    """Those of its pods among them. Pods of a deleted pool of the same name are the garbage collector's."""
    uid = pool.metadata.uid
    return tuple(pod_view(each) for each in raw if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences") or ()))


def marked(pods: Iterable[PodView], agent: str, deleted: Mapping[str, str], fleet: FleetView | None = None) -> tuple[PodView, ...]:
    """The pods, with who deletes them and whose agent is another than a new one's. `agent`: what new ones get, as `agent_hash` says it.

    `deleted`: uids of those that we have deleted ourselves, or were about to, and why. Of those that a leader before us was about to
    delete, the `fleet` knows.
    """
    return tuple([_marked(pod, agent, deleted.get(pod.uid), fleet.capsule(pod) if fleet else None) for pod in pods])


def _marked(pod: PodView, agent: str, deleted: str | None, capsule: CapsuleView | None) -> PodView:
    why = deleted or (Reason.DRAINED if capsule is not None and capsule.draining else "")
    leaving = "" if pod.deleting or pod.finished else why
    return replace(pod, evicted=pod.deleting and deleted is None, leaving=leaving, outdated=pod.agent != agent)


def hanging(pods: Iterable[PodView], now: float) -> list[PodView]:
    """Those whose events are to be read, the oldest first. `now` is Unix time."""
    return sorted((pod for pod in pods if pod.hangs_at is not None and pod.hangs_at <= now), key=lambda pod: pod.created)[:MOST_ASKED]


async def explained(kube: Kube, pods: tuple[PodView, ...], pool: SnakePool, now: float) -> tuple[PodView, ...]:
    """The pods, with what their events say of those that hang. Raises KubeError."""
    told = {
        pod.uid: with_fault(pod, await kube.list(EVENTS, pool.metadata.namespace, fields=f"involvedObject.uid={pod.uid}"))
        for pod in hanging(pods, now)
    }
    return tuple(told.get(pod.uid, pod) for pod in pods) if told else pods
