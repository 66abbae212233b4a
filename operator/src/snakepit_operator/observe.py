"""Reads everything that a decision about one pool rests on: fresh lists, never a cache of somebody else's. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import SnakePool
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import EVENTS, PODS, POOLS, Kube, KubeError, Object
from snakepit_operator.model import Observed, PodView
from snakepit_operator.pods import AgentImage, agent_hash
from snakepit_operator.status import pool_selector
from snakepit_operator.views import pod_view, pool_view, with_fault

HANGS_SECONDS = 10.0
"""A pod whose containers a node has been creating for longer than this is asked for its events."""
MOST_ASKED = 3
"""So many pods of a pool at each look, the oldest first: where many hang, they do for one reason."""


class Observation(Struct, frozen=True):
    """A pool, its status as the API server holds it, and what there is of it. `again`: seconds until a pod may be said to hang."""

    pool: SnakePool
    version: str
    """The pool's resourceVersion."""
    status: Object
    observed: Observed
    again: float | None = None


async def observe(
    kube: Kube, fleet: Fleet, agent: AgentImage, namespace: str, name: str, deleted: Collection[str] = (), now: float = 0.0
) -> Observation | None:
    """None: the pool is gone or going. `agent`: what new pods get. `deleted`: uids of the pods that we have deleted ourselves.
    `now` is Unix time.

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
    newest = agent_hash(pool.spec, agent)
    pods = [replace(pod, evicted=pod.deleting and pod.uid not in deleted, outdated=pod.agent != newest) for pod in pods]
    creating = sorted((pod for pod in pods if pod.creating and not pod.deleting), key=lambda pod: pod.created)
    late = [pod for pod in creating if now - pod.created >= HANGS_SECONDS]
    hanging = {pod.uid: with_fault(pod, await _events(kube, namespace, pod)) for pod in late[:MOST_ASKED]}
    again = min((pod.created + HANGS_SECONDS - now for pod in creating[len(late) :]), default=None)
    observed = Observed(tuple(hanging.get(pod.uid, pod) for pod in pods), fleet.view(f"{namespace}/{name}"))
    return Observation(pool, raw["metadata"].get("resourceVersion", ""), raw.get("status") or {}, observed, again)


async def _events(kube: Kube, namespace: str, pod: PodView) -> list[Object]:
    return await kube.list(EVENTS, namespace, fields=f"involvedObject.uid={pod.uid}")


def _owned(pod: Object, uid: str) -> bool:
    """Pods of a deleted pool of the same name are the garbage collector's."""
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())
