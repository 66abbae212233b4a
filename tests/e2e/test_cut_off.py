"""A node whose cable is pulled, with a capsule and a control-plane replica on it: nothing resets a connection, so only silence tells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.incluster import ALL_REPLICAS, Load, probe_pool
from support.kube import HERMETIC, SYSTEM, apply, eventually, get, is_ready, kubectl, pods_of, wait_available

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not HERMETIC, reason="the nodes' cables can't be reached from here"),
]

POOL = "cut"
CALLERS = 8
CLUSTER = Path(__file__).parents[2] / "hack" / "cluster"


def cluster(*argv: str) -> None:
    subprocess.run([sys.executable, str(CLUSTER), *argv], check=True, env=dict(os.environ), timeout=60)


@contextmanager
def cut_off(node: str) -> Iterator[None]:
    number = node.rpartition("-")[2]
    cluster("cut-node", number)
    try:
        yield
    finally:
        cluster("join-node", number)
        kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=120s")


def nodes(component: str) -> set[str]:
    found = get("pods", namespace=SYSTEM, selector=f"app.kubernetes.io/component={component}")
    return {pod["spec"]["nodeName"] for pod in found if is_ready(pod)}


@pytest.fixture
def spread_replicas(release: None) -> None:
    """A control-plane replica on each node, wherever an earlier test has left them."""
    for _ in range(5):
        if len(nodes("control-plane")) == 2:
            return
        replicas = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=control-plane")
        kubectl("delete", "pod", replicas[0]["metadata"]["name"], "-n", SYSTEM, "--timeout=90s", timeout=120)
        kubectl("rollout", "status", "deployment/snakepit-control-plane", "-n", SYSTEM, "--timeout=90s", timeout=120)
    raise AssertionError("the replicas stay on one node")


@pytest.fixture
def spread_pool(namespace: str) -> Iterator[str]:
    """A capsule on each node."""
    document = probe_pool(POOL, replicas=2, worker={"processes": 2})
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"snakepit.dev/pool": POOL}},
    }
    document["spec"]["template"]["spec"]["topologySpreadConstraints"] = [spread]
    apply(document, namespace=namespace)
    wait_available(POOL, namespace=namespace)
    eventually(lambda: len([pod for pod in pods_of(POOL, namespace=namespace) if is_ready(pod)]) == 2, "two capsules are ready")
    yield POOL
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=60s")


def test_a_cut_off_node_costs_the_calls_that_it_held_and_calls_go_on_while_it_is_away(
    namespace: str, spread_replicas: None, spread_pool: str
) -> None:
    (home,) = nodes("redis")
    (away,) = {pod["spec"]["nodeName"] for pod in pods_of(spread_pool, namespace=namespace)} - {home}
    with Load("cut", spread_pool, namespace=namespace, server=ALL_REPLICAS, concurrency=CALLERS, node=home) as load:
        load.wait_for_more()
        with cut_off(away):
            eventually(load.failures, "the calls that it held are told", timeout=60)
            load.wait_for_more(500)
        load.wait_for_more()
        account = load.finish()
    longest = max((each["seconds"] for each in account["failures"]), default=0.0)
    print(
        f"node cut off: {account['begun']} calls, {len(account['failures'])} failed ({account['failed']}), told after {longest} s at most"
    )
    assert {each["started"] for each in account["failures"]} <= {"MAYBE", "NO"}, account["failures"]
    # One at the silent replica, one at the silent capsule.
    assert len(account["failures"]) <= 2 * CALLERS, account["failures"]
    assert set(account["failed"]) <= {"REPLICA_LOST", "WORKER_LOST"}, account["failures"]
