"""What is read of a pool: above all, who deletes its pods."""

from __future__ import annotations

from typing import Any

from snakepit_operator.fleet import Fleet
from snakepit_operator.observe import observe

POOL = {"metadata": {"name": "digits", "namespace": "default", "uid": "p"}, "spec": {"worker": {"adapter": "digits.tools:Digits"}}}


class Cluster:
    """An API server with one pool and these pods."""

    def __init__(self, **pods: dict[str, Any]) -> None:
        self._pods = [{"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": "p"}], **more}} for name, more in pods.items()]

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, Any]:
        return POOL

    async def list(self, kind: object, namespace: str, selector: str) -> list[dict[str, Any]]:
        return self._pods


async def test_a_pod_that_goes_and_that_we_have_not_deleted_is_evicted() -> None:
    going = {"deletionTimestamp": "2026-11-25T00:00:00Z"}
    cluster: Any = Cluster(stays={}, ours=going, theirs=going)
    sight = await observe(cluster, Fleet("127.0.0.1:1", lambda pool, essential: None), "default", "digits", {"ours", "stays"})
    assert sight is not None
    assert {pod.name: (pod.deleting, pod.evicted) for pod in sight.observed.pods} == {
        "stays": (False, False),
        "ours": (True, False),
        "theirs": (True, True),
    }
