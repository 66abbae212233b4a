"""Reads everything that a decision about one pool rests on: fresh lists, never a cache of somebody else's. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import SnakePool
from snakepit_operator.kube import EVENTS, PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.model import PodView
from snakepit_operator.pods import AgentImage, agent_hash
from snakepit_operator.status import pool_selector
from snakepit_operator.views import pod_view, pool_view, with_fault

MOST_ASKED = 3
"""Of so many pods that hang the events are read at each look, the oldest first: where many hang, they do for one reason."""


class Found(Struct, frozen=True):
    """A pool, with its status and resourceVersion as the API server has them."""

    pool: SnakePool
    status: Object
    version: str


async def find(kube: Kube, name: str) -> Found | None:
    """The pool `namespace/name`; None: it is gone or going. Raises KubeError, and msgspec.ValidationError where it can't be read."""
    namespace, _, short = name.partition("/")
    try:
        raw = await kube.get(POOLS, namespace, short)
    except KubeError as error:
        if error.missing:
            return None
        raise
    metadata = raw["metadata"]
    return (
        None if metadata.get("deletionTimestamp") else Found(pool_view(raw), raw.get("status") or {}, metadata.get("resourceVersion", ""))
    )


async def observe(kube: Kube, agent: AgentImage, pool: SnakePool, deleted: Collection[str], now: float) -> tuple[PodView, ...]:
    """The pool's pods. `agent`: what new ones get. `deleted`: uids of those that we have deleted ourselves. `now` is Unix time.

    Raises KubeError.
    """
    metadata, newest = pool.metadata, agent_hash(agent)
    raw = await kube.list(PODS, metadata.namespace, pool_selector(pool))
    pods = [
        replace(pod, evicted=pod.deleting and pod.uid not in deleted, outdated=pod.agent != newest)
        for pod in map(pod_view, (each for each in raw if _owned(each, metadata.uid)))
    ]
    hanging = sorted((pod for pod in pods if pod.hangs_at is not None and pod.hangs_at <= now), key=lambda pod: pod.created)
    told = {
        pod.uid: with_fault(pod, await kube.list(EVENTS, metadata.namespace, fields=f"involvedObject.uid={pod.uid}"))
        for pod in hanging[:MOST_ASKED]
    }
    return tuple(told.get(pod.uid, pod) for pod in pods)


def _owned(pod: Object, uid: str) -> bool:
    """Pods of a deleted pool of the same name are the garbage collector's."""
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())
