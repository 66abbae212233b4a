"""A node dies under load, with a capsule, a control-plane replica and perhaps the leading operator on it.

Its power fails, and what was connected to it is reset; or its cable is pulled, and only silence tells.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from support.incluster import ALL_REPLICAS, Load, probe_pool, standing_caller, workers
from support.kube import HERMETIC, SYSTEM, apply, eventually, get, is_ready, kubectl, pods_of, wait_available
from support.nodes import dead

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not HERMETIC, reason="the nodes' power and cables can't be reached from here"),
]

CALLERS = 8
SESSIONS = 4
DEFAULT_SECONDS, SHORT_SECONDS = 10, 5
"""heartbeat.timeoutSeconds; Kubernetes itself finds out after 8 s here, and elsewhere after some 50."""


def homes(component: str) -> dict[str, str]:
    """The ready pods of a component, each with its node."""
    found = get("pods", namespace=SYSTEM, selector=f"app.kubernetes.io/component={component}")
    return {p["metadata"]["name"]: p["spec"]["nodeName"] for p in found if is_ready(p) and "deletionTimestamp" not in p["metadata"]}


def spread(component: str) -> None:
    """One pod of it on each node, wherever earlier tests have left them."""
    for _ in range(5):
        pods = eventually(lambda: len(found := homes(component)) == 2 and found, f"two ready pods of {component}")
        if len(set(pods.values())) == 2:
            return
        gone = min(pods)
        kubectl("delete", "pod", gone, "-n", SYSTEM, "--wait=false")
        eventually(lambda gone=gone: gone not in homes(component), f"{gone} goes")
    raise AssertionError(f"{component} stays on one node")


def leader() -> str:
    return str(get("lease", "snakepit-operator", namespace=SYSTEM)["spec"]["holderIdentity"])


def lead_from(node: str) -> None:
    """Have the operator there lead: the other one resigns as it goes. To have one on each node again may end the one that leads."""
    for _ in range(8):
        spread("operator")
        leading, home = eventually(lambda: (now := leader()) in (found := homes("operator")) and (now, found[now]), "an operator leads")
        if home == node:
            return
        kubectl("delete", "pod", leading, "-n", SYSTEM, "--wait=false")
        eventually(lambda gone=leading: leader() not in ("", gone), "another operator leads")
    raise AssertionError(f"the operator on {node} doesn't come to lead")


def made(pod: dict[str, Any]) -> float:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()


def seconds_of(pod: dict[str, Any], kind: str) -> float:
    """When that condition became what it is."""
    (found,) = [each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == kind]
    return datetime.fromisoformat(found).timestamp()


@pytest.fixture
def pool(namespace: str, timeout: int) -> Iterator[str]:
    name, heartbeat = f"mortal-{timeout}", {"intervalSeconds": timeout / 5, "timeoutSeconds": timeout}
    apply(probe_pool(name, replicas=2, worker={"processes": 2}, heartbeat=heartbeat), namespace=namespace)
    wait_available(name, namespace=namespace)
    yield name
    kubectl("delete", f"sp/{name}", "-n", namespace, "--timeout=60s")


def spread_capsules(pool: str, namespace: str) -> None:
    """A ready capsule on each node, and no other."""

    def on_two_nodes() -> bool:
        pods = get("pods", namespace=namespace, selector=f"snakepit.dev/pool={pool}")
        assert len(pods) == 2, [p["metadata"]["name"] for p in pods]
        assert all(is_ready(p) and "deletionTimestamp" not in p["metadata"] for p in pods)
        if len({p["spec"]["nodeName"] for p in pods}) == 2:
            return True
        kubectl("delete", "pod", pods[0]["metadata"]["name"], "-n", namespace, "--wait=false")
        return False

    eventually(on_two_nodes, "a capsule on each node", timeout=120)


class Death:
    """Of a node under load: what was there before, and what callers and Kubernetes said of it."""

    def __init__(self, pool: str, namespace: str, home: str, away: str) -> None:
        self.pool, self.namespace, self.home, self.away = pool, namespace, home, away
        before = pods_of(pool, namespace=namespace)
        (self.lost,) = [p["metadata"]["name"] for p in before if p["spec"]["nodeName"] == away]
        self.start = max(seconds_of(p, "Ready") - made(p) for p in before)

    def at_full_strength(self) -> list[dict[str, Any]]:
        pods = [p for p in pods_of(self.pool, namespace=self.namespace) if is_ready(p) and p["spec"]["nodeName"] == self.home]
        return pods if len(pods) == 2 else []

    def load(self, name: str, concurrency: int, **more: Any) -> Load:
        return Load(name, self.pool, namespace=self.namespace, server=ALL_REPLICAS, concurrency=concurrency, node=self.home, **more)

    def is_gone(self) -> bool:
        return len(get("pods", namespace=self.namespace, selector=f"snakepit.dev/pool={self.pool}")) == 2

    def happens(self, how: str) -> None:
        with self.load("dead-node", CALLERS) as load, self.load("dead-session", SESSIONS, session="s") as session:
            load.wait_for_more()
            session.wait_for_more()
            with dead(self.away, how) as self.died:
                self.strong = eventually(self.at_full_strength, "two capsules on the node that is left", timeout=90)
                self.full = time.time() - self.died
                load.wait_for_more(200)
                session.wait_for_more()
                self.reached = time.time()
            eventually(self.is_gone, "what was dead is gone")
            load.wait_for_more()
            session.wait_for_more()
            self.calls, kept = load.finish(), session.finish()
        self.failures = [*self.calls["failures"], *kept["failures"]]
        self.told = max((each["at"] - self.died for each in self.failures if each["at"] < self.reached), default=0.0)
        self.replaced = max(map(made, self.strong)) - self.died

    def costs_the_calls_that_it_held(self, timeout: int) -> None:
        assert {each["started"] for each in self.failures} <= {"MAYBE", "NO"}, self.failures
        # One at the silent replica, one at the silent capsule.
        assert len(self.calls["failures"]) <= 2 * CALLERS, self.calls["failures"]
        assert set(self.calls["failed"]) <= {"REPLICA_LOST", "WORKER_LOST"}, self.calls["failures"]
        # A replica that is reached again gets no calls before it knows that its node's capsules were declared lost.
        assert not [each for each in self.failures if each["at"] >= self.reached]
        # It was heard last before that; the rest is for a machine that has much else to do: in a stall of its own nobody listens.
        assert self.told < timeout + 3

    def is_made_good_elsewhere(self, timeout: int, *, leads: bool) -> None:
        # The operator hears of it up to a second later, and waits up to another one for a replica that may be dead, too. Who stands by
        # has seen the leader's lease renewed up to two seconds late, and looks every two seconds whether its time is over.
        assert self.replaced < timeout + 4 + 5 * leads
        avoided = [p["metadata"]["annotations"].get("snakepit.dev/avoids-nodes") for p in self.strong if made(p) > self.died]
        # Where the scheduler found no other place at first, any node was as good.
        told_so = [each["message"] for each in get("events", namespace=self.namespace) if each["involvedObject"]["name"] == self.pool]
        assert avoided == [self.away] or any("(PodStuck)" in each for each in told_so), (avoided, told_so)
        assert self.full < self.replaced + 2 * self.start + 10, "what it takes beside is the start of a pod"

    def stays_dead(self) -> None:
        alive = {p["metadata"]["name"] for p in pods_of(self.pool, namespace=self.namespace)}
        assert self.lost not in alive, "what comes back is fenced"
        assert {str(w["id"]).rpartition("/")[0] for w in workers(self.pool, namespace=self.namespace)} == alive


@pytest.mark.parametrize(
    ("how", "leads", "timeout"),
    [("killed", True, DEFAULT_SECONDS), ("cut off", False, SHORT_SECONDS)],
    ids=["killed, the leading operator on it", "cut off"],
)
def test_a_dead_node_costs_the_calls_that_it_held_and_what_it_served_with_is_back_elsewhere_in_time(
    namespace: str, pool: str, how: str, leads: bool, timeout: int
) -> None:
    (home,) = eventually(lambda: homes("redis"), "Redis is ready").values()
    (away,) = {each["metadata"]["name"] for each in get("nodes", namespace="")} - {home}
    standing_caller(namespace=namespace, node=home)
    spread("control-plane")
    lead_from(away if leads else home)
    spread_capsules(pool, namespace)
    death = Death(pool, namespace, home, away)
    death.happens(how)
    print(
        f"node {how}{', the leading operator on it' * leads}: the last caller was told after {death.told:.1f} s, the capsule replaced after"
        f" {death.replaced:.1f} s, full strength after {death.full:.1f} s; a pod took {death.start:.0f} s to start before"
    )
    print([(round(each["at"] - death.died, 1), each["reason"], each["message"]) for each in death.failures])
    death.costs_the_calls_that_it_held(timeout)
    death.is_made_good_elsewhere(timeout, leads=leads)
    death.stays_dead()
