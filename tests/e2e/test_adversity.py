"""A bad day under load: every call is accounted for, and the fleet ends as it was asked to be."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.containers import process_of
from support.incluster import Load, call, probe_pool, workers
from support.kube import (
    HERMETIC,
    SYSTEM,
    CommandFailed,
    apply,
    condition,
    eventually,
    get,
    install,
    is_ready,
    kubectl,
    pods_of,
    run,
    wait_available,
)
from support.watching import PodWatch

pytestmark = pytest.mark.timeout(300)

POOL = "storm"
OPERATOR = "app.kubernetes.io/component=operator"
CONTROL_PLANE = "app.kubernetes.io/component=control-plane"
REDIS = "statefulset/snakepit-redis"


@pytest.fixture(scope="module")
def pool(namespace: str) -> Iterator[str]:
    apply(a_pool(), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield POOL
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def a_pool(version: str = "1", **spec: Any) -> dict[str, Any]:
    """The pool of most of these tests; another version is another template."""
    document = probe_pool(POOL, **{"replicas": 2, **spec})
    document["spec"]["template"]["metadata"] = {"annotations": {"version": version}}
    return document


def all_ready(pool: str, count: int, *, namespace: str) -> bool:
    pods = pods_of(pool, namespace=namespace)
    return len(pods) == count and all(map(is_ready, pods))


def settled(pool: str, count: int, *, namespace: str) -> bool:
    """So many ready pods, and the pool says so too."""
    status = get("snakepool", pool, namespace=namespace)["status"]
    assert (status.get("replicas"), status.get("readyReplicas"), status.get("updatedReplicas")) == (count, count, count), status
    return all_ready(pool, count, namespace=namespace)


def took(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = act()
    return time.monotonic() - began, found


def refused(tool: str, pool: str, *, namespace: str, session: str = "") -> str:
    """What the command line says of a call that must fail."""
    with pytest.raises(CommandFailed) as failure:
        call(tool, {}, pool=pool, namespace=namespace, session=session)
    return str(failure.value)


def test_a_new_template_rolls_out_under_load_without_a_lost_call_and_never_more_pods_than_desired_and_surge(
    namespace: str, pool: str
) -> None:
    with PodWatch(pool, namespace=namespace) as watch, Load("rollout", pool, namespace=namespace) as load:
        load.wait_for_more()
        old = set(watch.active)
        apply(a_pool("2"), namespace=namespace)
        seconds, _ = took(lambda: eventually(lambda: not old & watch.active and settled(pool, 2, namespace=namespace), "two new pods"))
        load.wait_for_more()
        account = load.finish()
    print(f"rolled out in {seconds:.1f} s with at most {watch.most} pods, {len(watch.seen)} in all")
    assert account["failed"] == {}, account["failures"]
    assert watch.most <= 3
    assert len(watch.seen) == 4


def test_a_template_that_gets_stuck_says_why_while_the_old_pods_serve_on_until_it_is_mended_and_a_bad_one_is_refused(
    namespace: str, pool: str
) -> None:
    before = {pod["metadata"]["uid"] for pod in pods_of(pool, namespace=namespace)}
    with Load("stuck", pool, namespace=namespace) as load:
        load.wait_for_more()
        apply(a_pool("2", image="registry.invalid/none:1"), namespace=namespace)
        found = eventually(lambda: degraded(pool, namespace=namespace), "the pool says that it is Degraded", timeout=120)
        assert "Image" in found["reason"] + found["message"]
        with pytest.raises(CommandFailed, match=r"spec\.replicas"):
            apply(a_pool("2", replicas=-1), namespace=namespace)
        load.wait_for_more()
        apply(a_pool("2"), namespace=namespace)
        eventually(lambda: settled(pool, 2, namespace=namespace), "two pods, none of them stuck")
        account = load.finish()
    assert account["failed"] == {}, account["failures"]
    assert {pod["metadata"]["uid"] for pod in pods_of(pool, namespace=namespace)} == before


def degraded(pool: str, *, namespace: str) -> dict[str, Any] | None:
    found = condition(get("snakepool", pool, namespace=namespace), "Degraded")
    return found if found["status"] == "True" else None


def test_scaling_with_kubectl_under_load_gives_exactly_that_many_pods_loses_no_call_and_sessions_keep_their_state(
    namespace: str, pool: str
) -> None:
    with (
        PodWatch(pool, namespace=namespace) as watch,
        Load("scaled", pool, namespace=namespace) as load,
        Load("scaled-session", pool, namespace=namespace, concurrency=4, session="scaled") as session,
    ):
        load.wait_for_more()
        kubectl("scale", f"sp/{pool}", "--replicas=4", "-n", namespace)
        eventually(lambda: settled(pool, 4, namespace=namespace), "four ready pods")
        kubectl("scale", f"sp/{pool}", "--replicas=1", "-n", namespace)
        eventually(lambda: settled(pool, 1, namespace=namespace), "one pod")
        kubectl("wait", "--for=condition=Available", f"sp/{pool}", "-n", namespace, "--timeout=60s")
        load.wait_for_more()
        session.wait_for_more()
        account, kept = load.finish(), session.finish()
    assert (account["failed"], kept["failed"]) == ({}, {}), [*account["failures"], *kept["failures"]]
    assert watch.most == 4


OPTIONAL = ("apiservice/v1beta2.custom.metrics.k8s.io", "deployment/snakepit-gateway")
"""What the release had for the tests that came before."""


def test_an_upgrade_of_the_release_under_load_loses_no_call_and_of_two_operators_one_leads(namespace: str, pool: str) -> None:
    before = {pod["metadata"]["uid"] for pod in pods_of(pool, namespace=namespace)}
    with Load("upgrade", pool, namespace=namespace) as load:
        load.wait_for_more()
        changes = ("--set", "agent.maxNestedCalls=1000", "--set", "controlPlane.podAnnotations.upgraded=yes")
        seconds, _ = took(lambda: install(SYSTEM, "--reset-values", *changes))
        load.wait_for_more()
        account = load.finish()
    print(f"upgraded in {seconds:.1f} s")
    assert account["failed"] == {}, account["failures"]
    assert [kubectl("get", each, "-n", SYSTEM, "--ignore-not-found", "-o", "name") for each in OPTIONAL] == [""] * len(OPTIONAL)
    eventually(lambda: leader() in operators(), "one of the new ones leads")
    assert len(operators()) == 2
    assert {pod["metadata"]["uid"] for pod in pods_of(pool, namespace=namespace)} == before, "an upgrade rolls no capsule"
    eventually(
        lambda: get("snakepool", pool, namespace=namespace)["status"]["outdatedReplicas"] == len(before), "they are said to be outdated"
    )


def leader() -> str:
    return str(get("lease", "snakepit-operator", namespace=SYSTEM)["spec"]["holderIdentity"])


def operators() -> set[str]:
    pods = get("pods", namespace=SYSTEM, selector=OPERATOR)
    return {p["metadata"]["name"] for p in pods if is_ready(p) and "deletionTimestamp" not in p["metadata"]}


def test_the_leading_operator_killed_while_it_scales_up_leaves_its_follower_exactly_the_pods_that_were_asked_for(
    namespace: str, pool: str
) -> None:
    with PodWatch(pool, namespace=namespace) as watch, Load("leader", pool, namespace=namespace) as load:
        killed = eventually(leader, "one leads")
        kubectl("scale", f"sp/{pool}", "--replicas=6", "-n", namespace)
        eventually(lambda: len(watch.active) > 1, "the scale-up has begun", every=0.01)
        kubectl("delete", "pod", killed, "-n", SYSTEM, "--grace-period=0", "--force")
        seconds, _ = took(lambda: eventually(lambda: leader() not in ("", killed), "the follower leads"))
        eventually(lambda: settled(pool, 6, namespace=namespace), "six ready pods")
        victim = sorted(watch.active)[0]
        kubectl("delete", "pod", victim, "-n", namespace, "--wait=false")
        eventually(lambda: victim not in watch.active and all_ready(pool, 6, namespace=namespace), "the new leader replaces a pod")
        account = load.finish()
    print(f"the follower led after {seconds:.1f} s; at most {watch.most} pods, {len(watch.seen)} in all")
    assert account["failed"] == {}, account["failures"]
    assert watch.most == 6
    assert len(watch.seen) == 7
    kubectl("scale", f"sp/{pool}", "--replicas=2", "-n", namespace)


def store_is(pool: str, status: str, *, namespace: str) -> dict[str, Any] | None:
    found = condition(get("snakepool", pool, namespace=namespace), "SessionStoreReady")
    assert found["status"] == status, found
    return found


def restarts(*, namespace: str) -> dict[str, int]:
    """How often the containers of capsules and of the release were started again, Redis apart."""
    every = pods_of(POOL, namespace=namespace)
    every += [p for p in get("pods", namespace=SYSTEM) if "redis" not in p["metadata"]["name"] and "deletionTimestamp" not in p["metadata"]]
    return {
        f"{p['metadata']['uid']}/{c['name']}": c["restartCount"]
        for p in every
        for kind in ("containerStatuses", "initContainerStatuses")
        for c in p["status"].get(kind, [])
    }


def test_without_redis_calls_go_on_session_calls_fail_at_once_and_all_of_it_recovers_by_itself(namespace: str, pool: str) -> None:
    eventually(lambda: settled(pool, 2, namespace=namespace), "two ready pods")
    before = restarts(namespace=namespace)
    with (
        Load("storeless", pool, namespace=namespace, concurrency=4) as load,
        Load("session", pool, namespace=namespace, concurrency=1, session="s") as session,
    ):
        kubectl("delete", "pod", "snakepit-redis-0", "-n", SYSTEM, "--wait=false")
        kubectl("scale", REDIS, "--replicas=0", "-n", SYSTEM)
        away = eventually(lambda: store_is(pool, "False", namespace=namespace), "the pool says that the store is away")
        eventually(session.failures, "a session call that fails")
        load.wait_for_more()
        kubectl("scale", REDIS, "--replicas=1", "-n", SYSTEM)
        seconds, _ = took(lambda: eventually(lambda: store_is(pool, "True", namespace=namespace), "the store is back"))
        session.wait_for_more()
        load.wait_for_more()
        sessionless, sessions = load.finish(), session.finish()
    print(f"{away['reason']}: {away['message']}; told {seconds:.1f} s after it was asked back")
    print(f"the slowest refusal took {max(f['seconds'] for f in sessions['failures'])} s")
    assert sessionless["failed"] == {}, sessionless["failures"]
    # A tool whose worker is known runs; it is its write that fails, inside it.
    assert sessions["failures"], "the store was never away"
    # The chart's Redis has a volume, as the cluster has a default StorageClass: its sessions are back with it.
    assert [f for f in sessions["failures"] if "the session store is away" not in f["message"]] == []
    assert max(f["seconds"] for f in sessions["failures"]) < 10, "long before its call would have ended"
    after = restarts(namespace=namespace)
    assert {key: after.get(key) for key in before} == before, "nothing else starts again"
    assert condition(get("snakepool", pool, namespace=namespace), "Available")["status"] == "True"


def test_a_control_plane_that_starts_without_redis_gets_ready_and_serves_calls_without_a_session(namespace: str, pool: str) -> None:
    kubectl("scale", REDIS, "--replicas=0", "-n", SYSTEM)
    kubectl("wait", "--for=delete", "pod/snakepit-redis-0", "-n", SYSTEM, "--timeout=60s")
    with Load("redisless", pool, namespace=namespace, concurrency=4) as load:
        kubectl("rollout", "restart", "deployment/snakepit-control-plane", "-n", SYSTEM)
        kubectl("rollout", "status", "deployment/snakepit-control-plane", "-n", SYSTEM, "--timeout=90s")
        load.wait_for_more()
        assert "store" in refused("whoami", pool, namespace=namespace, session="none")
        kubectl("scale", REDIS, "--replicas=1", "-n", SYSTEM)
        eventually(lambda: store_is(pool, "True", namespace=namespace), "the store is back")
        account = load.finish()
    assert account["failed"] == {}, account["failures"]
    assert call("remember", {"key": "k", "value": "v"}, pool=pool, namespace=namespace, session="after") == 1


def test_a_deleted_capsule_finishes_its_running_call_and_both_its_containers_end_with_0(namespace: str, pool: str) -> None:
    kubectl("scale", f"sp/{pool}", "--replicas=1", "-n", namespace)
    eventually(lambda: settled(pool, 1, namespace=namespace), "one pod")
    victim = pods_of(pool, namespace=namespace)[0]["metadata"]["name"]
    with PodWatch(pool, namespace=namespace) as watch, ThreadPoolExecutor() as threads:
        running = threads.submit(call, "work", {"seconds": 5}, pool=pool, namespace=namespace)
        eventually(lambda: sum(int(w["running"]) for w in workers(pool, namespace=namespace)) == 1, "the call runs")
        kubectl("delete", "pod", victim, "-n", namespace, "--wait=false")
        assert running.result(timeout=30) > 0
        codes = eventually(lambda: len(watch.exit_codes(victim)) == 2 and watch.exit_codes(victim), "both containers have ended")
    print(codes)
    assert set(codes.values()) == {0}
    eventually(lambda: settled(pool, 1, namespace=namespace), "the pod is replaced")


@pytest.mark.skipif(not HERMETIC, reason="the nodes' processes can't be reached from here")
def test_a_worker_container_that_is_killed_is_told_at_once_and_started_again_in_the_same_pod(namespace: str, pool: str) -> None:
    kubectl("scale", f"sp/{pool}", "--replicas=1", "-n", namespace)
    eventually(lambda: settled(pool, 1, namespace=namespace), "one pod")
    before = pods_of(pool, namespace=namespace)[0]
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run, *long_call(pool, namespace), check=False)
        eventually(lambda: sum(int(w["running"]) for w in workers(pool, namespace=namespace)) == 1, "the call runs")
        os.kill(process_of(before, "snakepit-keeper"), signal.SIGKILL)  # PID 1 can't be killed from inside
        seconds, ended = took(lambda: running.result(timeout=30))
    print(f"told after {seconds:.2f} s: {ended.stderr.strip()}")
    assert "died during the call: the worker's container ended" in ended.stderr
    assert seconds < 10, "long before the call would have ended"
    eventually(lambda: all_ready(pool, 1, namespace=namespace), "the pod is ready")
    eventually(lambda: call("whoami", {}, pool=pool, namespace=namespace), "a call is served")
    after = eventually(lambda: restarted(pool, namespace=namespace), "the kubelet has counted the restart")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["initContainerStatuses"][0]["restartCount"] == 0, "the agent goes on"


def restarted(pool: str, *, namespace: str) -> dict[str, Any] | None:
    pod = pods_of(pool, namespace=namespace)[0]
    return pod if pod["status"]["containerStatuses"][0]["restartCount"] == 1 else None


def long_call(pool: str, namespace: str) -> list[str]:
    argv = ["snakepit", "call", f"{namespace}/{pool}", "work", '{"seconds": 20}', "--server", f"snakepit.{SYSTEM}:7800"]
    return ["kubectl", "exec", "caller", "-n", namespace, "--", *argv]


def test_a_pool_that_is_scaled_to_zero_under_load_keeps_all_calls_in_its_queue_and_serves_them_when_it_is_scaled_up(
    namespace: str, pool: str
) -> None:
    with Load("zero", pool, namespace=namespace, concurrency=4) as load:
        load.wait_for_more()
        kubectl("scale", f"sp/{pool}", "--replicas=0", "-n", namespace)
        eventually(lambda: get("snakepool", pool, namespace=namespace)["status"].get("queueDepth") == 4, "the calls wait in the queue")
        eventually(lambda: pods_of(pool, namespace=namespace) == [], "no pod")
        kubectl("scale", f"sp/{pool}", "--replicas=1", "-n", namespace)
        seconds, _ = took(load.wait_for_more)
        account = load.finish()
    print(f"served {seconds:.1f} s after the scale-up")
    assert account["failed"] == {}, account["failures"]


def test_a_drained_node_loses_no_call(namespace: str, pool: str) -> None:
    kubectl("scale", f"sp/{pool}", "--replicas=2", "-n", namespace)
    eventually(lambda: settled(pool, 2, namespace=namespace), "two ready pods")
    home = get("pod", "caller", namespace=namespace)["spec"]["nodeName"]
    node = next(n["metadata"]["name"] for n in json.loads(kubectl("get", "nodes", "-o", "json"))["items"] if n["metadata"]["name"] != home)
    try:
        with Load("drain", pool, namespace=namespace, node=home) as load:
            load.wait_for_more()
            drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
            seconds, _ = took(lambda: kubectl(*drain, timeout=150))
            eventually(lambda: settled(pool, 2, namespace=namespace), "two ready pods")
            load.wait_for_more()
            account = load.finish()
    finally:
        kubectl("uncordon", node)
    print(f"{node} was empty after {seconds:.1f} s")
    assert account["failed"] == {}, account["failures"]
    assert {p["spec"]["nodeName"] for p in pods_of(pool, namespace=namespace)} == {home}


def test_twenty_capsules_at_once_get_ready_and_go_with_their_pool(namespace: str, pool: str) -> None:
    kubectl("scale", f"sp/{pool}", "--replicas=0", "-n", namespace)
    eventually(lambda: pods_of(pool, namespace=namespace) == [], "no pod")
    kubectl("scale", f"sp/{pool}", "--replicas=20", "-n", namespace)
    with PodWatch(pool, namespace=namespace) as watch:
        seconds, _ = took(lambda: eventually(lambda: settled(pool, 20, namespace=namespace), "twenty ready pods", timeout=150))
        assert watch.restarts() == {}
        kubectl("delete", f"sp/{pool}", "-n", namespace, "--timeout=30s")
        selector = f"snakepit.dev/pool={pool}"
        gone, _ = took(
            lambda: eventually(
                lambda: get("pods,poddisruptionbudgets", namespace=namespace, selector=selector) == [], "nothing is left", timeout=120
            )
        )
    print(f"20 capsules were ready after {seconds:.1f} s; all were gone after {gone:.1f} s; at most {watch.most} pods")
    assert watch.most == 20
