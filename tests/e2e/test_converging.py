"""Whatever is found, the fleet becomes what the pool says, and says what it is doing."""

from __future__ import annotations

import pytest

from snakepit.cli.failures import ExitStatus
from support.incluster import call, probe_pool
from support.kube import CommandFailed, apply, condition, eventually, get, is_ready, kubectl, pods_of, run, wait_available

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small(namespace: str):
    """A pool of one capsule, deleted after the test."""
    apply(probe_pool("small", replicas=1), namespace=namespace)
    wait_available("small", namespace=namespace)
    yield "small"
    kubectl("delete", "sp/small", "-n", namespace, "--wait", "--timeout=60s")


def test_scaling_with_kubectl_gives_exactly_that_many_pods_and_never_more(namespace: str, small: str) -> None:
    kubectl("scale", f"sp/{small}", "--replicas=4", "-n", namespace)
    seen: list[int] = []

    def four_ready() -> bool:
        pods = pods_of(small, namespace=namespace)
        seen.append(len(pods))
        return len(pods) == 4 and all(map(is_ready, pods))

    eventually(four_ready, "four ready pods")
    assert max(seen) <= 4
    kubectl("scale", f"sp/{small}", "--replicas=1", "-n", namespace)
    eventually(lambda: len(pods_of(small, namespace=namespace)) == 1, "one pod")
    status = eventually(lambda: settled(namespace, small, 1), "a status that counts one")
    assert status["replicas"] == 1


def settled(namespace: str, pool: str, replicas: int) -> dict[str, object] | None:
    status = get("snakepool", pool, namespace=namespace)["status"]
    return status if status.get("readyReplicas") == replicas and status.get("replicas") == replicas else None


def test_pods_deleted_by_hand_while_the_operator_is_away_are_made_again(namespace: str, small: str) -> None:
    kubectl("scale", "deployment", "snakepit-operator", "-n", "snakepit-system", "--replicas=0")
    kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=operator", "-n", "snakepit-system", "--timeout=60s")
    victim = pods_of(small, namespace=namespace)[0]["metadata"]
    kubectl("delete", "pod", victim["name"], "-n", namespace, "--timeout=90s")
    assert pods_of(small, namespace=namespace) == []
    kubectl("scale", "deployment", "snakepit-operator", "-n", "snakepit-system", "--replicas=1")
    made = eventually(lambda: [p for p in pods_of(small, namespace=namespace) if is_ready(p)], "the pod is made again")
    assert made[0]["metadata"]["uid"] != victim["uid"]
    assert call("whoami", {}, pool=small, namespace=namespace)["pod"] == made[0]["metadata"]["name"]


def test_a_worker_that_cannot_set_up_is_named_with_its_own_error_in_status_events_and_refusals(namespace: str) -> None:
    apply(probe_pool("broken", adapter="probe:FailsInSetup", replicas=1), namespace=namespace)
    degraded = eventually(lambda: is_true(namespace, "broken", "Degraded"), "the pool says that it is Degraded")
    assert "the model file is missing" in degraded["message"]
    assert condition(get("snakepool", "broken", namespace=namespace), "Available")["status"] == "False"
    text = kubectl("describe", "sp/broken", "-n", namespace)
    assert "the model file is missing" in text
    assert degraded["reason"] in text
    assert ", in setup" in text, "the author's own traceback"
    eventually(lambda: [each for each in events_of("broken", namespace) if "the model file is missing" in each], "an event says so")
    with pytest.raises(CommandFailed, match="the model file is missing"):
        call("never", {}, pool="broken", namespace=namespace)
    kubectl("delete", "sp/broken", "-n", namespace, "--wait", "--timeout=60s")


def events_of(pool: str, namespace: str) -> list[str]:
    return [each["message"] for each in get("events", namespace=namespace) if each["involvedObject"]["name"] == pool]


def is_true(namespace: str, pool: str, kind: str) -> dict[str, str] | None:
    found = condition(get("snakepool", pool, namespace=namespace), kind)
    return found if found["status"] == "True" else None


def test_an_image_that_cannot_be_pulled_is_reported_with_the_pods_own_reason_and_fixed_by_applying_again(namespace: str) -> None:
    apply(probe_pool("stuck", replicas=1, image="registry.invalid/none:1"), namespace=namespace)
    degraded = eventually(lambda: is_true(namespace, "stuck", "Degraded"), "the pool says that it is Degraded", timeout=120)
    assert "Image" in degraded["reason"] + degraded["message"]
    assert len(pods_of("stuck", namespace=namespace)) == 1
    apply(probe_pool("stuck", replicas=1), namespace=namespace)
    wait_available("stuck", namespace=namespace)
    kubectl("delete", "sp/stuck", "-n", namespace, "--wait", "--timeout=60s")


def test_a_deleted_pool_leaves_nothing_behind(namespace: str) -> None:
    apply(probe_pool("gone", replicas=2), namespace=namespace)
    wait_available("gone", namespace=namespace)
    kubectl("delete", "sp/gone", "-n", namespace, "--timeout=30s")
    eventually(lambda: leftovers(namespace, "gone") == "", "no object of the pool is left", timeout=120)
    refused = run(
        "kubectl",
        "exec",
        "caller",
        "-n",
        namespace,
        "--",
        "snakepit",
        "call",
        f"{namespace}/gone",
        "whoami",
        "--server",
        "snakepit.snakepit-system:7800",
        check=False,
    )
    assert refused.returncode == ExitStatus.USAGE
    assert "gone" in refused.stderr


def leftovers(namespace: str, pool: str) -> str:
    kinds = "pods,services,configmaps,secrets,poddisruptionbudgets"
    return kubectl("get", kinds, "-n", namespace, "-l", f"snakepit.dev/pool={pool}", "-o", "name")
