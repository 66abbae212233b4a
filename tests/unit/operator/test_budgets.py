"""The PodDisruptionBudget of a pool, as it is written."""

from __future__ import annotations

from typing import Any, cast

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.operator_world import START
from support.pretend_api import PretendApi

POOL = "default/digits"


def raw(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "digits", "namespace": "default", "uid": "pool-uid", "generation": 1}
    return {"metadata": metadata, "spec": {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, **spec}}


async def test_it_follows_the_size_of_an_autoscaled_pool_at_once_and_needs_to_follow_no_other() -> None:
    api = PretendApi(raw(replicas=1, autoscaling={"minReplicas": 3, "maxReplicas": 9}))
    settings = Settings(namespace="snakepit-system", identity="me", agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1"))
    operator = Reconciler(cast(Kube, api), settings, Fleet("127.0.0.1:1", lambda pool, essential: None))

    async def allows() -> dict[str, Any]:
        await operator.reconcile(POOL, START)
        found = api.of("poddisruptionbudgets")["digits-capsules"]["spec"]
        return {name: found[name] for name in ("maxUnavailable", "minAvailable") if name in found}

    spec = api.of("snakepools")["digits"]["spec"]
    assert await allows() == {"minAvailable": 2}
    spec["autoscaling"]["minReplicas"] = 5
    assert await allows() == {"minAvailable": 4}
    spec.pop("autoscaling")
    assert await allows() == {"maxUnavailable": 1}
    api.of("poddisruptionbudgets").clear()
    spec["replicas"] = 4
    await operator.reconcile(POOL, START)
    assert api.of("poddisruptionbudgets") == {}, "it was asked for in vain"
