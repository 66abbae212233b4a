"""What goes wrong with a pool is said, by its own name, once, and by who knows: pods, the API server, another release."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from support.chart import CHART
from support.incluster import probe_pool
from support.kube import CommandFailed, apply, condition, eventually, get, is_ready, kubectl, pods_of, run, wait_available

pytestmark = pytest.mark.timeout(240)

OPERATORS = ("-n", "snakepit-system", "-l", "app.kubernetes.io/component=operator", "--tail=-1")


@pytest.fixture
def pool(namespace: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of the test's own; what is made under it is deleted."""
    name = f"reason-{abs(hash(request.node.name)) % 100_000}"
    yield name
    kubectl("delete", f"sp/{name}", "-n", namespace, "--ignore-not-found", "--wait", "--timeout=60s")


def degraded(pool: str, namespace: str, reason: str) -> dict[str, Any] | None:
    found = condition(get("snakepool", pool, namespace=namespace), "Degraded")
    return found if (found["status"], found["reason"]) == ("True", reason) else None


def told(pool: str, namespace: str) -> list[tuple[str, str]]:
    """Type and reason of the pool's Events."""
    return [(each["type"], each["reason"]) for each in get("events", namespace=namespace) if each["involvedObject"]["name"] == pool]


@pytest.mark.usefixtures("beside")
def test_a_config_map_that_is_missing_is_named(namespace: str) -> None:
    pool = "reason-missing"
    document = probe_pool(pool, replicas=1)
    document["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "not-there"
    apply(document, namespace=namespace)
    found = eventually(lambda: degraded(pool, namespace, "FailedMount"), "the pool says that it is Degraded", timeout=60)
    assert 'configmap "not-there" not found' in found["message"]
    assert get("snakepool", pool, namespace=namespace)["status"]["reason"] == "FailedMount"
    apply(probe_pool(pool, replicas=1), namespace=namespace)
    wait_available(pool, namespace=namespace)
    kubectl("delete", f"sp/{pool}", "-n", namespace, "--wait=false")


@pytest.mark.usefixtures("beside")
def test_an_unknown_field_of_the_template_is_refused_with_its_place_and_pods_that_run_stay(namespace: str) -> None:
    pool = "reason-unknown"
    apply(probe_pool(pool, replicas=1), namespace=namespace)
    wait_available(pool, namespace=namespace)
    (before,) = pods_of(pool, namespace=namespace)
    document = probe_pool(pool, replicas=1)
    document["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    apply(document, namespace=namespace)
    found = eventually(lambda: degraded(pool, namespace, "PodRefused"), "the pool says that it is Degraded")
    assert 'unknown field "spec.template.spec.containers[worker].volumeMount"' in found["message"]
    assert told(pool, namespace).count(("Normal", "CapsulesCreated")) == 1, "the one that was created"
    (after,) = pods_of(pool, namespace=namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert is_ready(after)
    kubectl("delete", f"sp/{pool}", "-n", namespace, "--wait=false")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"restartPolicy": "Never"}, "a capsule's containers are always started again"),
        ({"volumes": [{"name": "snakepit-run", "emptyDir": {}}]}, "are the operator's: use other names"),
        ({"containers": [{"name": "snakepit-agent", "image": "x"}]}, "are the operator's: use other names"),
    ],
)
def test_what_would_be_overridden_is_refused_when_it_is_applied(namespace: str, change: dict[str, Any], sentence: str) -> None:
    document = probe_pool("refused")
    document["spec"]["template"]["spec"] |= change
    with pytest.raises(CommandFailed, match=sentence):
        apply(document, namespace=namespace)


@pytest.mark.usefixtures("beside")
def test_a_pool_that_was_well_for_longer_than_its_deadline_and_loses_a_pod_is_not_late(namespace: str) -> None:
    pool, seconds = "reason-late", 25
    apply(probe_pool(pool, replicas=2, rollout={"progressDeadlineSeconds": seconds}), namespace=namespace)
    wait_available(pool, namespace=namespace)

    def are_old() -> bool:
        moves = [c["lastTransitionTime"] for pod in pods_of(pool, namespace=namespace) for c in pod["status"]["conditions"]]
        return (datetime.now(UTC) - max(map(datetime.fromisoformat, moves))).total_seconds() > seconds + 2

    eventually(are_old, "both pods have been ready for longer than the deadline")
    victim = pods_of(pool, namespace=namespace)[0]["metadata"]
    kubectl("delete", "pod", victim["name"], "-n", namespace, "--wait=false")

    def is_well_again() -> bool:
        pods = pods_of(pool, namespace=namespace)
        return len(pods) == 2 and all(map(is_ready, pods)) and victim["uid"] not in {pod["metadata"]["uid"] for pod in pods}

    eventually(is_well_again, "there are two again")
    assert "ProgressDeadlineExceeded" not in {reason for _, reason in told(pool, namespace)}
    kubectl("delete", f"sp/{pool}", "-n", namespace, "--wait=false")


def test_an_annotation_restarts_a_pool_and_a_start_leaves_no_warning(namespace: str, pool: str) -> None:
    apply(probe_pool(pool, replicas=1), namespace=namespace)
    wait_available(pool, namespace=namespace)
    before = {each["metadata"]["uid"] for each in pods_of(pool, namespace=namespace)}
    kubectl("annotate", f"sp/{pool}", f"snakepit.dev/restartedAt={datetime.now(UTC).isoformat()}", "--overwrite", "-n", namespace)

    def replaced() -> list[dict[str, Any]]:
        pods = pods_of(pool, namespace=namespace)
        return pods if len(pods) == 1 and is_ready(pods[0]) and pods[0]["metadata"]["uid"] not in before else []

    (fresh,) = eventually(replaced, "the pod is another one")

    def is_said() -> bool:
        status = get("snakepool", pool, namespace=namespace)["status"]
        return (status["outdatedReplicas"], status["updatedReplicas"]) == (0, 1)

    eventually(is_said, "the status says so")
    assert [each for each in told(fresh["metadata"]["name"], namespace) if each[0] == "Warning"] == []


def test_another_release_leaves_a_pool_alone_and_names_whose_it_is(namespace: str, pool: str) -> None:
    apply(probe_pool(pool, replicas=1), namespace=namespace)
    wait_available(pool, namespace=namespace)
    before = [each["metadata"]["uid"] for each in pods_of(pool, namespace=namespace)]
    values = ["crds.enabled=false", f"watchNamespaces={{{namespace}}}", "controlPlane.replicas=0", "redis.url=redis://nowhere:6379"]
    sets = [word for value in values for word in ("--set", value)]
    try:
        run("helm", "install", "other", str(CHART), "-n", namespace, *sets, timeout=120)
        eventually(lambda: ("Warning", "AnotherRelease") in told(pool, namespace), "the other operator says whose the pool is")
        status = get("snakepool", pool, namespace=namespace)["status"]
        assert (status["release"], status["reason"]) == ("snakepit-system/snakepit-operator", "Ready")
        assert [each["metadata"]["uid"] for each in pods_of(pool, namespace=namespace)] == before
    finally:
        subprocess.run(["helm", "uninstall", "other", "-n", namespace, "--wait", "--timeout", "60s"], check=False, timeout=120)
