"""Sessions on the cluster, with two control-plane replicas: affinity, binding, fencing and restarts; whichever replica a call comes
through.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.containers import process_of
from support.incluster import SERVICE, probe_pool
from support.kube import HERMETIC, SYSTEM, apply, eventually, get, is_ready, kubectl, pods_of, wait_available
from support.scenes import HURRY, kill_replicas, play

pytestmark = pytest.mark.timeout(180)

POOL = "actors"
PATIENT = {"drain": {"killAfterSeconds": 60}, "queue": {"timeoutSeconds": 60}}

Scene = Callable[..., Any]


@pytest.fixture(scope="module")
def scene(namespace: str) -> Iterator[Scene]:
    """Play a scene with a pool of two capsules of two workers."""
    apply(probe_pool(POOL, "actor:Actor", replicas=2, worker={"processes": 2}, **PATIENT), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield lambda name, **options: play("session_scenes.py", name, pool=POOL, namespace=namespace, **options)
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def kill_worker(namespace: str, worker: str, pid: int) -> None:
    kubectl("exec", worker.rpartition("/")[0], "-n", namespace, "-c", "worker", "--", "sh", "-c", f"kill -9 {pid}")


def test_a_session_sticks_to_its_worker_through_both_replicas_while_it_has_room(scene: Scene) -> None:
    found = scene("sticks")
    assert [place for place in found["places"] if place != found["places"][0]] == []
    assert found["epoch"] == 1


def test_hint_falls_back_when_its_worker_is_busy_and_rebinds_and_the_other_replica_follows(scene: Scene) -> None:
    found = scene("hint_moves")
    assert found["moved"] != found["bound"]
    assert found["followed"] == found["moved"]
    assert found["epoch"] == 2


def test_strict_queue_waits_for_its_worker_though_others_idle_and_other_workers_skip_the_pinned_entry(scene: Scene) -> None:
    found = scene("strict_queue_waits")
    assert found["bound"] not in found["others"]
    assert found["early"] == [False, False]
    assert found["pinned"] == [found["bound"]] * 2
    assert found["epoch"] == 1


def test_strict_fail_fast_answers_worker_busy_through_both_replicas_and_queues_nothing(scene: Scene) -> None:
    found = scene("fail_fast")
    assert [(each["reason"], each["started"]) for each in found["refused"]] == [("WORKER_BUSY", "NO")] * 2
    assert max(each["seconds"] for each in found["refused"]) < 5, "it would wait for a minute in the queue"
    assert found["after"] == [found["bound"]] * 2


def crash(namespace: str, worker: str, pid: int) -> None:
    kill_worker(namespace, worker, pid)


def recycle(namespace: str, worker: str, pid: int) -> None:
    kubectl("exec", "caller", "-n", namespace, "--", "snakepit", "recycle", worker, "--server", SERVICE)


def evict(namespace: str, worker: str, pid: int) -> None:
    kubectl("delete", "pod", worker.rpartition("/")[0], "-n", namespace, "--wait=false")


def scale_down(namespace: str, worker: str, pid: int) -> None:
    kubectl("scale", f"sp/{POOL}", "--replicas=0", "-n", namespace)


def stop_agent(namespace: str, worker: str, pid: int) -> None:
    os.kill(agent_of(namespace, worker), signal.SIGSTOP)


def agent_of(namespace: str, worker: str) -> int:
    return process_of(get("pod", worker.rpartition("/")[0], namespace=namespace), "snakepit-agent")


REASONS = [
    pytest.param(crash, "crashed", id="crashed"),
    pytest.param(recycle, "recycled", id="recycled"),
    pytest.param(evict, "evicted", id="evicted"),
    pytest.param(scale_down, "scaled down", id="scaled down"),
    pytest.param(
        stop_agent,
        "lost",
        id="lost",
        marks=pytest.mark.skipif(not HERMETIC, reason="the nodes' processes can't be reached from here"),
    ),
]


@pytest.mark.parametrize(("act", "why"), REASONS)
def test_a_strict_session_whose_worker_is_gone_hears_why_from_both_replicas_and_goes_on_after_rebind(
    namespace: str, scene: Scene, act: Callable[[str, str, int], None], why: str
) -> None:
    done: dict[str, Any] = {}

    def harm(worker: str, pid: int) -> None:
        if act is stop_agent:
            done["agent"] = agent_of(namespace, worker)
        act(namespace, worker, pid)

    def heal() -> None:
        if agent := done.pop("agent", 0):
            os.kill(agent, signal.SIGCONT)
        kubectl("scale", f"sp/{POOL}", "--replicas=2", "-n", namespace)

    try:
        found = scene("worker_goes", harm={"harm": harm, "heal": heal})
    finally:
        heal()
    before, rebound, after = found["epochs"]
    for refused in found["refused"]:
        assert (refused["reason"], refused["started"]) == ("SESSION_WORKER_UNAVAILABLE", "NO")
        assert refused["details"]["why"] == why
        assert why in refused["message"]
    assert (rebound, after) == (before + 1, before + 1)
    assert found["recalled"] == [["kept", 1]] * 2
    assert found["incarnations"][0] != found["incarnations"][1]


def test_two_simultaneous_first_calls_of_one_session_through_different_replicas_meet_on_one_worker(scene: Scene) -> None:
    for met in scene("meet"):
        assert met["places"][0] == met["places"][1]
        assert met["epoch"] == 1


def test_a_worker_restarted_under_the_same_name_is_another_incarnation_and_strict_sessions_notice(namespace: str, scene: Scene) -> None:
    found = scene("same_name", harm={"harm": lambda worker, pid: kill_worker(namespace, worker, pid)})
    for names in found["names"]:
        assert found["worker"] in names, "it is back under its name"
    assert [each["reason"] for each in found["refused"]] == ["SESSION_WORKER_UNAVAILABLE"] * 2
    assert found["incarnations"][0] != found["incarnations"][1]


def test_a_fenced_workers_result_and_state_write_are_refused_after_a_rebind_through_the_other_replica(scene: Scene) -> None:
    found = scene("fenced")
    assert found["epoch"] == 2
    assert (found["result"]["reason"], found["result"]["started"]) == ("STALE_EPOCH", "YES")
    assert found["write"]["reason"] == "STALE_EPOCH"
    assert found["read"] == found["after"] == ["early", 1]


def test_a_session_and_its_state_survive_worker_capsule_all_control_plane_replicas_and_operator(namespace: str, scene: Scene) -> None:
    home = scene("keep")
    for harm in (kill_its_worker, delete_its_capsule, kill_the_control_plane, kill_the_operator):
        harm(namespace, home)
        found = scene("kept")
        assert found["read"] == [["kept", 1]] * 2, harm.__name__
        assert found["recalled"] == [["kept", 1]] * 2, harm.__name__
        home = found


def kill_its_worker(namespace: str, home: dict[str, Any]) -> None:
    kill_worker(namespace, home["worker"], home["pid"])


def delete_its_capsule(namespace: str, home: dict[str, Any]) -> None:
    capsule = home["worker"].rpartition("/")[0]
    uid = get("pod", capsule, namespace=namespace)["metadata"]["uid"]  # What takes its place may have its name.
    kubectl("delete", "pod", capsule, "-n", namespace, *HURRY)
    eventually(lambda: uid not in {pod["metadata"]["uid"] for pod in pods_of(POOL, namespace=namespace)}, "the capsule is gone")


def kill_the_control_plane(namespace: str, home: dict[str, Any]) -> None:
    kill_replicas()


def kill_the_operator(namespace: str, home: dict[str, Any]) -> None:
    selector = "app.kubernetes.io/component=operator"
    kubectl("delete", "pod", "-n", SYSTEM, "-l", selector, *HURRY)
    eventually(lambda: [pod for pod in get("pods", namespace=SYSTEM, selector=selector) if is_ready(pod)], "the operator is back")
