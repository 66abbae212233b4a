"""Whatever is found, the fleet becomes what the pool says, and says what it is doing."""

from __future__ import annotations

import pytest

from support.incluster import Load, call, probe_pool
from support.kube import CommandFailed, apply, condition, eventually, get, is_ready, kubectl, pods_of, wait_available

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small(namespace: str):
    """A pool of one capsule, deleted after the test."""
    apply(probe_pool("small", replicas=1), namespace=namespace)
    wait_available("small", namespace=namespace)
    yield "small"
    kubectl("delete", "sp/small", "-n", namespace, "--wait", "--timeout=60s")


def test_pods_deleted_by_hand_under_load_while_the_operator_is_away_are_made_again_and_their_callers_only_wait(
    namespace: str, small: str
) -> None:
    with Load("small", small, namespace=namespace, concurrency=2) as load:
        kubectl("scale", "deployment", "snakepit-operator", "-n", "snakepit-system", "--replicas=0")
        kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=operator", "-n", "snakepit-system", "--timeout=60s")
        victim = pods_of(small, namespace=namespace)[0]["metadata"]
        kubectl("delete", "pod", victim["name"], "-n", namespace, "--timeout=90s")
        assert pods_of(small, namespace=namespace) == []
        kubectl("scale", "deployment", "snakepit-operator", "-n", "snakepit-system", "--replicas=2")
        made = eventually(lambda: [p for p in pods_of(small, namespace=namespace) if is_ready(p)], "the pod is made again")
        load.wait_for_more()
        account = load.finish()
    assert made[0]["metadata"]["uid"] != victim["uid"]
    assert account["failed"] == {}, account["failures"]


@pytest.mark.usefixtures("beside")
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


@pytest.mark.usefixtures("beside")
def test_a_deleted_pool_leaves_nothing_behind_and_its_callers_are_told_and_none_of_their_running_calls_is_cut_off(namespace: str) -> None:
    apply(probe_pool("gone", replicas=2), namespace=namespace)
    wait_available("gone", namespace=namespace)
    with Load("gone", "gone", namespace=namespace, concurrency=2) as load:
        load.wait_for_more()
        kubectl("delete", "sp/gone", "-n", namespace, "--timeout=30s")
        eventually(lambda: leftovers(namespace, "gone") == "", "no object of the pool is left", timeout=120)
        eventually(load.failures, "callers are told")
        account = load.finish()
    assert {each["started"] for each in account["failures"]} == {"NO"}, account["failures"]
    assert "gone" in account["failures"][-1]["message"]
    assert account["failures"][-1]["reason"] == "POOL_NOT_FOUND"


def leftovers(namespace: str, pool: str) -> str:
    kinds = "pods,services,configmaps,secrets,poddisruptionbudgets"
    return kubectl("get", kinds, "-n", namespace, "-l", f"snakepit.dev/pool={pool}", "-o", "name")
