"""Three nodes with a Redis server and a capsule each: any of them dies, under load, with whatever is on it.

Only a majority of the servers has to be left, so that it may be any of the three; on the two nodes of `make test-cluster` it can't.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from support.incluster import ALL_REPLICAS, E2E, Load, call, config_map, probe_pool, standing_caller
from support.kube import SYSTEM, apply, eventually, get, install, is_ready, kubectl, make_namespace, pods_of, run, wait_available
from support.nodes import dead
from support.redis_pods import leads, none_turns_idly, primary, servers

pytestmark = pytest.mark.timeout(420)

POOL, SPACE = "anywhere", "snakepit-any-node"
NODES = ("node-1", "node-2", "node-3")
TIMEOUT_SECONDS = 5
HEARTBEAT = {"intervalSeconds": 1, "timeoutSeconds": TIMEOUT_SECONDS}
STRONG_SECONDS = 60
"""From the power cut until all capsules are there again, also where the leading operator is gone and the machine has much else to do. How
soon it is where it has not, tests/e2e/test_node_death.py judges.
"""
WRITES_SECONDS = 45
"""From the first write of a session that fails until the last."""
SPREAD = '[{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]'
OF_THE_NODE = {"REPLICA_LOST", "WORKER_LOST"}


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    make_namespace(SYSTEM)
    install(SYSTEM, "--set", "redis.replicas=3", "--set-json", f"redis.topologySpreadConstraints={SPREAD}")
    make_namespace(SPACE)
    apply(config_map("probe", E2E / "probe.py", E2E / "load.py"), namespace=SPACE)
    apply(probe_pool(POOL, replicas=len(NODES), worker={"processes": 2}, heartbeat=HEARTBEAT), namespace=SPACE)
    wait_available(POOL, namespace=SPACE)
    standing_caller(namespace=SPACE)
    yield SPACE
    kubectl("delete", "sp", "--all", "-n", SPACE)
    run("helm", "uninstall", "snakepit", "-n", SYSTEM)


def homes(pods: list[dict[str, Any]]) -> list[str]:
    """The nodes of those that are ready, and stay."""
    return sorted(each["spec"]["nodeName"] for each in pods if is_ready(each) and "deletionTimestamp" not in each["metadata"])


def whole() -> bool:
    """A server and a capsule on each node, and two of each component, wherever."""
    assert homes(servers()) == list(NODES)
    pods = pods_of(POOL, namespace=SPACE)
    assert len(pods) == len(NODES)
    assert all(map(is_ready, pods))
    if homes(pods) != list(NODES):
        crowded = max(pods, key=lambda pod: (homes(pods).count(pod["spec"]["nodeName"]), pod["metadata"]["name"]))
        kubectl("delete", "pod", crowded["metadata"]["name"], "-n", SPACE, "--wait=false")
        return False
    for component in ("control-plane", "operator"):
        assert len(homes(get("pods", namespace=SYSTEM, selector=f"app.kubernetes.io/component={component}"))) == 2
    return True


class Death:
    """Of one node, under calls with and without sessions, which come from another one."""

    def __init__(self, node: str, how: str) -> None:
        self.node, self.how = node, how
        self.left = [each for each in NODES if each != node]
        eventually(whole, "all is there before", timeout=180, every=1)
        self.led = primary()["spec"]["nodeName"] == node
        standing_caller(namespace=SPACE, node=self.left[0])

    def load(self, name: str, session: str = "") -> Load:
        return Load(name, POOL, namespace=SPACE, server=ALL_REPLICAS, concurrency=3, session=session, node=self.left[0])

    def strong(self) -> bool:
        pods = pods_of(POOL, namespace=SPACE)
        return len(pods) == len(NODES) and set(homes(pods)) == set(self.left) and all(map(is_ready, pods))

    def another_leads(self) -> bool:
        return any(leads(each) for each in servers() if each["spec"]["nodeName"] in self.left)

    def happens(self) -> None:
        with ExitStack() as stack:
            loads = [stack.enter_context(each) for each in (self.load("plain"), self.load("session", "s"))]
            for load in loads:
                load.wait_for_more()
            with dead(self.node, self.how) as died:
                eventually(self.strong, f"{len(NODES)} capsules on the nodes that are left", timeout=90)
                self.strong_after = time.time() - died
                eventually(self.another_leads, "a server leads that is left", timeout=60)
                for load in loads:
                    load.wait_for_more(100)
            for load in loads:
                load.wait_for_more()
            self.plain, self.session = (load.finish() for load in loads)

    def writes_failed_for(self) -> float:
        at = [each["at"] for each in self.session["failures"] if each["reason"] == "STORE_UNAVAILABLE"]
        return max(at) - min(at) if at else 0.0

    def __str__(self) -> str:
        role = "the primary's" if self.led else "a replica's"
        return (
            f"{self.node}, {role}, {self.how}: full strength after {self.strong_after:.1f} s, writes of sessions failed for "
            f"{self.writes_failed_for():.1f} s; of {self.plain['begun']} calls without a session failed {self.plain['failed'] or 'none'}, "
            f"of {self.session['begun']} with one {self.session['failed'] or 'none'}"
        )


def remembers(value: str) -> bool:
    """What a session has kept since before, and through, each death."""
    found = call("recall", {"key": "k"}, pool=POOL, namespace=SPACE, session="kept")
    assert found["value"] == value
    return True


DEATHS = [*((node, "killed") for node in NODES), (NODES[0], "cut off")]


@pytest.mark.parametrize(("node", "how"), DEATHS, ids=[f"{node} {how}" for node, how in DEATHS])
def test_any_node_may_die_and_what_sessions_have_kept_stays(node: str, how: str, space: str) -> None:
    death = Death(node, how)
    eventually(lambda: call("remember", {"key": "k", "value": node}, pool=POOL, namespace=space, session="kept"), "there is what to keep")
    death.happens()
    print(death)
    assert set(death.plain["failed"]) <= OF_THE_NODE, death.plain["failures"]
    assert set(death.session["failed"]) <= {"STORE_UNAVAILABLE", *OF_THE_NODE}, death.session["failures"]
    assert {each["started"] for each in death.plain["failures"]} <= {"MAYBE", "NO"}
    assert death.strong_after < STRONG_SECONDS
    assert death.writes_failed_for() < WRITES_SECONDS
    eventually(lambda: remembers(node), "what was kept is there")
    eventually(none_turns_idly, "a socket's old error has been got rid of", timeout=60)
