"""Three Redis servers with Sentinels under load: one becomes three, the primary's node dies, its pod is drained, three become one.

Two nodes have three servers. The first server, which is the primary, is alone on its node, so that the majority outlives that node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack
from typing import Any

import pytest

from support.incluster import ALL_REPLICAS, Load, call, probe_pool, standing_caller
from support.kube import HERMETIC, ROOT, SYSTEM, apply, condition, eventually, get, install, kubectl, wait_available
from support.nodes import dead
from support.pages import Shell, blocks
from support.redis_pods import REDIS, SENTINEL_PORT, ask, leads, none_turns_idly, primary, servers

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HERMETIC, reason="the nodes' power can't be reached from here"),
]

POOL = "failover"
TO_THREE, TAKE_AWAY_ALONE, TAKE_AWAY = (block.text for block in blocks("docs/operations.md", "sh", "Three servers"))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(ROOT, tmp_path_factory.mktemp("failover") / "state", {})


@pytest.fixture(scope="module")
def home(namespace: str) -> Iterator[str]:
    """The node of all that isn't the primary; the pool is there, too."""
    (redis,) = eventually(servers, "the server is ready")
    alone = redis["spec"]["nodeName"]
    (home,) = {node["metadata"]["name"] for node in get("nodes", namespace="")} - {alone}
    standing_caller(namespace=namespace, node=home)
    kubectl("cordon", alone)
    try:
        apply(probe_pool(POOL, replicas=1, worker={"processes": 2}), namespace=namespace)
        wait_available(POOL, namespace=namespace)
        yield home
    finally:
        kubectl("uncordon", alone)
        one_again()
        kubectl("delete", f"sp/{POOL}", "-n", namespace, "--timeout=30s")
        kubectl("delete", "pvc", f"data-{REDIS}-1", f"data-{REDIS}-2", "-n", SYSTEM, "--ignore-not-found", "--wait=false")


def one_again() -> None:
    """Other modules find one server, also after a failure here."""
    found = get("statefulsets", namespace=SYSTEM, selector="app.kubernetes.io/component=redis")
    if [each["spec"]["replicas"] for each in found] != [1]:
        kubectl("delete", "statefulset", REDIS, "-n", SYSTEM, "--ignore-not-found")
        install(SYSTEM, "--set", "redis.replicas=1")  # without a value helm goes on with the last ones


def at_home(home: str) -> list[dict[str, Any]]:
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=redis")
    return [pod for pod in pods if pod["spec"].get("nodeName") == home]


CHANGING = {"POOL_NOT_READY", "QUEUE_TIMEOUT"}
"""Replicas are replaced at the same time: new ones find no settings, and wait for what old ones can't say that they have let go of."""


def under_load(
    namespace: str, home: str, harm: Callable[[], object], *, lost: Set[str] = frozenset(), refused: Set[str] = frozenset()
) -> None:
    """Calls without a session need no Redis: none fails, but for those `lost` reasons. Those of sessions write to their state."""
    where = {"namespace": namespace, "server": ALL_REPLICAS, "node": home}
    of_session = {"pool": POOL, "namespace": namespace, "session": "kept"}
    eventually(lambda: call("remember", {"key": "k", "value": "kept"}, **of_session), "a session has something to keep")
    with (
        Load("plain", POOL, concurrency=2, **where) as plain,
        Load("session", POOL, concurrency=2, session="s", **where) as load,
    ):
        plain.wait_for_more()
        load.wait_for_more()
        harm()
        load.wait_for_more()
        account, others = load.finish(), plain.finish()
    assert set(others["failed"]) <= lost, others["failures"]
    assert set(account["failed"]) <= {"STORE_UNAVAILABLE", *lost, *refused}, account["failures"]
    found = eventually(lambda: call("recall", {"key": "k"}, **of_session), "what it has is read")
    assert found["value"] == "kept"
    failed_at = [each["at"] for each in account["failures"]] or [0]
    print(f"session calls failed for {max(failed_at) - min(failed_at):.1f} s")


def rolled(*names: str) -> None:
    for name in names:
        kubectl("rollout", "status", name, "-n", SYSTEM, "--timeout=120s", timeout=150)


def test_one_server_becomes_three_by_the_pages_commands_and_keeps_its_sessions(namespace: str, home: str, shell: Shell) -> None:
    def become_three() -> None:
        refused = shell.run(TO_THREE, check=False).stderr
        assert " ".join(TAKE_AWAY_ALONE.split()) in refused
        shell.run(TAKE_AWAY_ALONE)
        shell.run(TO_THREE)
        eventually(lambda: len(at_home(home)) == 2, "the other two have their places")
        kubectl("uncordon", get("pod", f"{REDIS}-0", namespace=SYSTEM)["spec"]["nodeName"])
        rolled(f"statefulset/{REDIS}", "deployment/snakepit-control-plane")
        primary()

    under_load(namespace, home, become_three, refused=CHANGING)
    message = "sessions can be read and written"
    eventually(
        lambda: condition(get("snakepool", POOL, namespace=namespace), "SessionStoreReady")["message"] == message, "the pool says so"
    )


def the_lone_one_leads(home: str) -> dict[str, Any]:
    """Another one may have taken over, as each of them is replaced or late: who is alone on its node gets the lead again."""

    def lone_leads() -> dict[str, Any]:
        found = primary()
        if found["spec"]["nodeName"] == home:
            for pod in at_home(home):
                ask(pod, "config", "set", "replica-priority", "0")  # never chosen; Sentinels hear of it within 10 s
            said = ask(found, "sentinel", "failover", "main", port=SENTINEL_PORT)
            raise AssertionError(f"{found['metadata']['name']} was to hand over: {said}")
        return found

    found = eventually(lone_leads, "the one that is alone on its node leads", timeout=120, every=5)
    for pod in at_home(home):
        ask(pod, "config", "set", "replica-priority", "100")
    return found


def test_the_death_of_the_primarys_node_costs_seconds_and_no_session(namespace: str, home: str) -> None:
    was = the_lone_one_leads(home)
    alone = was["spec"]["nodeName"]
    assert len(at_home(home)) == 2

    with ExitStack() as stack:

        def die() -> None:
            stack.enter_context(dead(alone, "killed"))
            eventually(another_leads, "another one leads", timeout=30)

        def another_leads() -> bool:
            return any(leads(pod) for pod in at_home(home))

        under_load(namespace, home, die, lost={"REPLICA_LOST"})
    assert primary()["metadata"]["name"] != was["metadata"]["name"], "who comes back follows"
    eventually(none_turns_idly, "a socket's old error has been got rid of", timeout=40)


def test_the_primarys_pod_deleted_as_by_a_drain_hands_over_first(namespace: str, home: str) -> None:
    def drain() -> None:
        was = primary()["metadata"]["name"]
        kubectl("delete", "pod", was, "-n", SYSTEM)
        assert primary()["metadata"]["name"] != was

    under_load(namespace, home, drain)
    eventually(none_turns_idly, "a socket's old error has been got rid of", timeout=40)


def test_three_servers_become_one_which_has_the_sessions(namespace: str, home: str, shell: Shell) -> None:
    def become_one() -> None:
        shell.run(TAKE_AWAY)
        shell.run(TO_THREE.replace("replicas=3", "replicas=1"))
        rolled(f"statefulset/{REDIS}", "deployment/snakepit-control-plane")

    under_load(namespace, home, become_one, refused=CHANGING)
    assert len(servers()) == 1
