"""Each part is killed under load, and every call is accounted for: only calls that ran on a killed worker may be lost."""

from __future__ import annotations

import pytest

from support.incluster import ALL_REPLICAS, SERVICE, Load, call, probe_pool, workers
from support.kube import SYSTEM, apply, eventually, get, is_ready, kubectl, pods_of, wait_available

pytestmark = pytest.mark.timeout(300)

POOL = "probe"

MOST_KILLS = 8


@pytest.fixture(scope="module")
def pool(namespace: str) -> str:
    apply(probe_pool(POOL, replicas=2, worker={"processes": 2}), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    eventually(lambda: len(ready_workers(namespace)) == 4, "four workers are ready")
    return POOL


def ready_workers(namespace: str) -> list[dict[str, object]]:
    return [w for w in workers(POOL, namespace=namespace) if w["state"] == "ready" and w["liveness"] == "live"]


def kill_worker(namespace: str) -> str:
    """kill -9 one worker from inside its container; returns its incarnation."""
    victim = ready_workers(namespace)[0]
    capsule = str(victim["id"]).rpartition("/")[0]
    kubectl("exec", capsule, "-n", namespace, "-c", "worker", "--", "sh", "-c", f"kill -9 {victim['pid']}")
    return str(victim["incarnation"])


def test_a_killed_worker_costs_only_its_running_call_and_its_caller_is_told_how_it_died(namespace: str, pool: str) -> None:
    kills = 0
    with Load("worker", pool, namespace=namespace, seconds=0.05) as load:
        load.wait_for_more()
        while not load.failures():  # All workers are busy, but for the moments between two calls.
            assert kills < MOST_KILLS, f"{kills} busy workers were killed, and no call was lost"
            gone, kills = kill_worker(namespace), kills + 1
            eventually(
                lambda gone=gone: gone not in {w["incarnation"] for w in ready_workers(namespace)} and len(ready_workers(namespace)) == 4,
                "a new worker",
            )
            load.wait_for_more()
        account = load.finish()
    assert set(account["failed"]) == {"WORKER_LOST"}
    assert 1 <= sum(account["failed"].values()) <= kills, account["failures"]
    for failure in account["failures"]:
        assert failure["started"] == "MAYBE"
        assert "signal 9" in failure["message"]


def test_a_deleted_capsule_finishes_its_calls_and_is_replaced_without_losing_any(namespace: str, pool: str) -> None:
    with Load("capsule", pool, namespace=namespace) as load:
        load.wait_for_more()
        victim = delete_a_capsule(namespace, pool)
        eventually(lambda: capsules_are_back(namespace, pool, victim), "two ready capsules, none of them the deleted one")
        load.wait_for_more()
        account = load.finish()
    assert account["failed"] == {}, account["failures"]


def delete_a_capsule(namespace: str, pool: str) -> str:
    """Returns its uid: what takes its place may have its name."""
    victim = pods_of(pool, namespace=namespace)[0]["metadata"]
    kubectl("delete", "pod", victim["name"], "-n", namespace, "--wait=false")
    return str(victim["uid"])


def capsules_are_back(namespace: str, pool: str, victim: str) -> bool:
    pods = pods_of(pool, namespace=namespace)
    return len(pods) == 2 and all(map(is_ready, pods)) and victim not in {p["metadata"]["uid"] for p in pods}


@pytest.mark.parametrize("server", [SERVICE, ALL_REPLICAS], ids=["through the Service", "linked to all replicas"])
def test_a_deleted_control_plane_pod_loses_no_call(namespace: str, pool: str, server: str) -> None:
    with Load("replica" if server == SERVICE else "replicas", pool, namespace=namespace, server=server) as load:
        load.wait_for_more()
        victims = control_plane_pods()
        kubectl("delete", "pod", victims[0], "-n", SYSTEM, "--wait=false")
        eventually(lambda: len(control_plane_pods()) == 2 and victims[0] not in control_plane_pods(), "two ready replicas again")
        load.wait_for_more()
        account = load.finish()
    assert account["failed"] == {}, account["failures"]


def control_plane_pods() -> list[str]:
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=control-plane")
    return sorted(p["metadata"]["name"] for p in pods if is_ready(p) and "deletionTimestamp" not in p["metadata"])


def test_deleted_operators_cost_no_call_and_their_successors_go_on(namespace: str, pool: str) -> None:
    with Load("operator", pool, namespace=namespace) as load:
        load.wait_for_more()
        before = {p["metadata"]["uid"] for p in pods_of(pool, namespace=namespace)}
        kubectl("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")
        eventually(operators_are_ready, "the operators are back")
        load.wait_for_more()
        account = load.finish()
    assert account["failed"] == {}, account["failures"]
    assert {p["metadata"]["uid"] for p in pods_of(pool, namespace=namespace)} == before
    victim = delete_a_capsule(namespace, pool)
    eventually(lambda: capsules_are_back(namespace, pool, victim), "a new operator replaces a deleted pod")


def operators_are_ready() -> bool:
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=operator")
    return len(pods) == 2 and all(map(is_ready, pods))


def test_a_session_and_its_state_survive_worker_capsule_control_plane_and_operator(namespace: str, pool: str) -> None:
    def recall() -> dict[str, str]:
        return dict(call("recall", {"key": "k"}, pool=pool, namespace=namespace, session="survivor"))

    call("remember", {"key": "k", "value": "kept"}, pool=pool, namespace=namespace, session="survivor")
    first = recall()
    assert first["value"] == "kept"
    assert recall() == first, "the session sticks to its worker"
    kubectl("exec", first["pod"], "-n", namespace, "-c", "worker", "--", "sh", "-c", f"kill -9 {first['pid']}")
    eventually(lambda: recall()["value"] == "kept", "the state after its worker's death")
    pod = recall()["pod"]
    kubectl("delete", "pod", pod, "-n", namespace, "--wait=false")
    eventually(lambda: recall()["pod"] != pod, "the session on another capsule")
    assert recall()["value"] == "kept"
    kubectl("rollout", "restart", "-n", SYSTEM, "deployment", "-l", "app.kubernetes.io/part-of=snakepit")
    kubectl("rollout", "status", "-n", SYSTEM, "deployment", "-l", "app.kubernetes.io/part-of=snakepit", "--timeout=120s", timeout=150)
    assert eventually(recall, "a call after the restart of control plane and operator")["value"] == "kept"
