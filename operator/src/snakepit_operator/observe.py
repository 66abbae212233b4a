"""Reads everything that a decision about one pool rests on: fresh lists, never a cache of somebody else's. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import SnakePool
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.model import Observed
from snakepit_operator.status import pool_selector
from snakepit_operator.views import pod_view, pool_view


class Sight(Struct, frozen=True):
    """A pool, its status as the API server holds it, and what there is of it."""

    pool: SnakePool
    status: Object
    observed: Observed


async def observe(kube: Kube, fleet: Fleet, namespace: str, name: str, deleted: Collection[str] = ()) -> Sight | None:
    """None: the pool is gone or going. `deleted`: uids of the pods that we have deleted ourselves.

    Raises KubeError, and msgspec.ValidationError for a pool that this version can't read.
    """
    try:
        raw = await kube.get(POOLS, namespace, name)
    except KubeError as error:
        if error.missing:
            return None
        raise
    if raw["metadata"].get("deletionTimestamp"):
        return None
    pool = pool_view(raw)
    pods = [pod_view(pod) for pod in await kube.list(PODS, namespace, pool_selector(pool)) if _owned(pod, pool.metadata.uid)]
    pods = [replace(pod, evicted=pod.deleting and pod.uid not in deleted) for pod in pods]
    view = fleet.view(f"{namespace}/{name}")
    return Sight(pool, raw.get("status") or {}, Observed(tuple(pods), view))


def _owned(pod: Object, uid: str) -> bool:
    """Pods of a deleted pool of the same name are the garbage collector's."""
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())
