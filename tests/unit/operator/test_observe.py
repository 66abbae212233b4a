"""What is read of a pool: above all, who deletes its pods."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from snakepit_operator.kube import EVENTS
from snakepit_operator.model import HANGS_SECONDS, Observed
from snakepit_operator.observe import MOST_ASKED, marked
from snakepit_operator.plan import plan
from snakepit_operator.pods import AgentImage, agent_hash
from snakepit_operator.views import pool_view
from support.operator_world import START, capsule, fleet, observe, pod, pool

POOL = {"metadata": {"name": "digits", "namespace": "default", "uid": "p"}, "spec": {"worker": {"adapter": "digits.tools:Digits"}}}


AGENT = AgentImage(image="agent:2")
T0 = "2026-11-25T00:00:00Z"
BEGAN = datetime.fromisoformat(T0).timestamp()


class Cluster:
    """An API server with one pool and these pods. `asked`: of which objects somebody wanted the events."""

    def __init__(self, **pods: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self.pods = [{"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": "p"}], **more}} for name, more in pods.items()]

    async def list(self, kind: object, namespace: str, selector: str = "", fields: str = "") -> list[dict[str, Any]]:
        if kind is EVENTS:
            self.asked.append(fields)
            return [{"type": "Warning", "reason": "FailedMount", "message": 'configmap "code" not found', "lastTimestamp": T0}]
        return self.pods


async def test_a_pod_that_goes_and_that_we_have_not_deleted_is_evicted() -> None:
    going = {"deletionTimestamp": "2026-11-25T00:00:00Z"}
    cluster: Any = Cluster(stays={}, leaves={}, ours=going, theirs=going)
    pods = await observe(cluster, AGENT, pool_view(POOL), {"ours": "ScalingDown", "leaves": "ScalingDown"}, BEGAN)
    assert {pod.name: (pod.deleting, pod.evicted, pod.leaving) for pod in pods} == {
        "stays": (False, False, ""),
        "leaves": (False, False, "ScalingDown"),
        "ours": (True, False, ""),
        "theirs": (True, True, ""),
    }


def test_what_a_leader_before_has_drained_and_not_deleted_is_deleted_and_replaced() -> None:
    """It stayed, and served nobody. (Simulation, seed 85.)"""
    drained, stays = pod(0), pod(1)
    view = fleet(capsule(drained, draining=True), capsule(stays))
    pods = marked([drained, stays], drained.agent, {}, view)
    made = plan(pool(replicas=2), Observed(pods, view), START)
    assert [(each.name, each.reason) for each in made.deletions] == [(drained.name, "Drained")]
    assert [each.ordinal for each in made.creations] == [drained.ordinal]
    going = msgspec.structs.replace(drained, deleting=True)
    assert plan(pool(replicas=1), Observed(marked([going, stays], "", {}, view), view), START).deletions == ()


def unstarted(second: int = 0) -> dict[str, Any]:
    """Metadata of a pod that was created in that second."""
    return {"creationTimestamp": f"2026-11-25T00:00:{second:02}Z"}


async def look(cluster: Any, age: float) -> Observed:
    for each in cluster.pods:
        each["spec"] = {"nodeName": "node-1"}
    return Observed(await observe(cluster, AGENT, pool_view(POOL), {}, BEGAN + age))


async def test_nobody_is_asked_before_its_time_and_there_is_another_look_then() -> None:
    cluster: Any = Cluster(starts=unstarted())
    observed = await look(cluster, 4)
    assert cluster.asked == []
    assert plan(pool_view(POOL), observed, BEGAN + 4).requeue_after == pytest.approx(HANGS_SECONDS - 4)
    assert not observed.pods[0].stuck


async def test_of_many_that_hang_only_a_few_are_asked() -> None:
    cluster: Any = Cluster(**{f"p{number}": unstarted(number) for number in range(9)})
    await look(cluster, 100)
    assert cluster.asked == [f"involvedObject.uid=p{number}" for number in range(MOST_ASKED)]


async def test_a_pod_of_another_agent_is_outdated() -> None:
    marks = {"old": agent_hash(AgentImage(image="agent:1")), "same": agent_hash(AGENT)}
    unmarked: dict[str, Any] = {}
    cluster: Any = Cluster(unmarked=unmarked, **{name: {"annotations": {"snakepit.dev/agent-hash": mark}} for name, mark in marks.items()})
    observed = await look(cluster, 0)
    assert {pod.name for pod in observed.pods if pod.outdated} == {"old", "unmarked"}
