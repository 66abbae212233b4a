"""Calls on the cluster, with two control-plane replicas: pools without workers, free slots, what is large or slow, idempotency keys;
whichever of the two a call comes through.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.incluster import call_token, probe_pool
from support.kube import apply, condition, eventually, get, kubectl, pods_of, wait_available
from support.scenes import HURRY, kill_replicas, play, replicas

pytestmark = pytest.mark.timeout(180)

POOL = "plane"
SCENES = "request_scenes.py"
WORKERS = 4
MIB = 1024 * 1024
SELDOM = {"heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 120}, "queue": {"timeoutSeconds": 60}}
"""Whatever a replica learns about free slots, it learns from what agents say in between."""

Scene = Callable[..., Any]


@pytest.fixture(scope="module")
def scene(namespace: str) -> Iterator[Scene]:
    """Play a scene with a pool of two capsules of two workers."""
    apply(probe_pool(POOL, "actor:Actor", replicas=2, worker={"processes": 2}, **SELDOM), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield lambda name, pool=POOL, **options: play(SCENES, name, pool=pool, namespace=namespace, **options)
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def test_a_pool_without_a_ready_worker_answers_pool_not_ready_at_once_through_both_replicas(namespace: str, scene: Scene) -> None:
    apply(probe_pool("unready", "probe:FailsInSetup", replicas=1), namespace=namespace)
    eventually(lambda: condition(get("snakepool", "unready", namespace=namespace), "Degraded")["status"] == "True", "it is Degraded")
    for refused in scene("not_ready", pool="unready"):
        assert (refused["reason"], refused["started"]) == ("POOL_NOT_READY", "NO")
        assert "the model file is missing" in refused["message"]
        assert refused["seconds"] < 5, "it would wait for ten seconds in the queue"
    kubectl("delete", "sp/unready", "-n", namespace, "--wait=false")


@pytest.mark.usefixtures("beside")
def test_calls_to_a_pool_at_zero_wait_in_the_queue_of_either_replica_and_are_served_when_it_is_scaled_up(namespace: str) -> None:
    apply(probe_pool("asleep", "actor:Actor", replicas=0), namespace=namespace)
    eventually(lambda: condition(get("snakepool", "asleep", namespace=namespace), "Available")["reason"] == "ScaledToZero", "it is at zero")

    def scale_up() -> None:
        kubectl("scale", "sp/asleep", "--replicas=1", "-n", namespace)

    found = play(SCENES, "waits_for_workers", pool="asleep", namespace=namespace, harm={"scale up": scale_up})
    assert found["waited"] == [True, True]
    assert {pod for pod, _ in found["places"]} == {pod["metadata"]["name"] for pod in pods_of("asleep", namespace=namespace)}
    kubectl("delete", "sp/asleep", "-n", namespace, "--wait=false")


def test_no_call_waits_at_one_replica_once_a_worker_that_the_other_held_is_free(scene: Scene) -> None:
    idle = scene("no_call_waits")
    print(f"a worker was idle for {max(idle):.3f} s at most, between two calls of different replicas")
    assert len(idle) == 2 * WORKERS
    assert max(idle) < 5, "until the agents' next beat it is half a minute"


def test_a_call_runs_at_once_while_a_worker_is_free_and_no_worker_gets_two(scene: Scene) -> None:
    found = scene("free_slot_elsewhere")
    assert max(found["took"]) < 5, "until the agents' next beat it is half a minute"
    assert found["together"] == WORKERS
    assert found["ran"] == 3 * WORKERS


@pytest.mark.usefixtures("beside")
def test_clients_with_tokens_of_one_service_account_count_as_one_caller(namespace: str) -> None:
    """Tokens of the API server's own making, checked against its own keys."""
    apply(probe_pool("capped", "actor:Actor", replicas=1, worker={"processes": 2}, call={"maxConcurrentPerCaller": 1}), namespace=namespace)
    wait_available("capped", namespace=namespace)
    kubectl("create", "serviceaccount", "other", "-n", namespace)
    tokens = [call_token(account, namespace) for account in ("default", "default", "other")]
    found = play(SCENES, "one_identity", pool="capped", namespace=namespace, tokens=tokens)
    assert (found["same"]["reason"], found["same"]["details"]["limit"]) == ("CALLER_LIMIT", "call.maxConcurrentPerCaller")
    assert (found["other"]["reason"], found["later"]["reason"]) == ("", "")
    kubectl("delete", "sp/capped", "-n", namespace, "--wait=false")


def test_64_mib_go_in_and_out_through_either_replica_and_a_byte_more_is_refused_with_the_limits_name(scene: Scene) -> None:
    for found in scene("large"):
        print(f"64 MiB there and back in {found['seconds']:.2f} s")
        assert found["same"]
        for refused, started in ((found["in"], "NO"), (found["out"], "YES")):
            assert (refused["reason"], refused["started"]) == ("PAYLOAD_TOO_LARGE", started)
            assert refused["details"] == {"limit": "maxLargePayloadBytes", "bytes": str(64 * MIB)}


def test_a_slow_reader_of_a_stream_holds_up_nobody_and_costs_less_than_a_mebibyte_at_each_program(scene: Scene) -> None:
    found = scene("slow_reader")
    print(f"a small call takes {1000 * found['beside']:.1f} ms beside two slow readers, {1000 * found['alone']:.1f} ms without")
    assert found["beside"] < max(10 * found["alone"], 0.1)
    # Worker, agent and control plane; what is between them is theirs too.
    assert max(found["later"]) <= 3 * MIB
    assert found["later"] == found["made"], "the producers stand still"


def test_an_idempotency_key_runs_once_through_both_replicas_and_is_remembered_when_both_are_restarted(scene: Scene) -> None:
    key = str(uuid.uuid4())
    found = scene("keyed", key=key)
    outcome = found["answers"][0]
    assert found["answers"] == [outcome] * 50
    assert found["repeats"] == [outcome] * 2
    assert found["runs"] == 1
    kill_replicas()
    assert scene("repeated", key=key, arguments=found["arguments"]) == [outcome] * 2, "its desk is closed: it can't have run again"


def test_the_call_of_a_killed_replica_is_not_run_again_under_its_key_and_its_repeat_is_told_maybe(scene: Scene) -> None:
    def kill(address: str) -> None:
        kubectl("delete", "pod", replicas()[address], "-n", "snakepit-system", *HURRY)

    found = scene("replica_dies", key=str(uuid.uuid4()), harm={"kill the replica": kill})
    for outcome in (found["joined"], found["repeated"]):
        assert (outcome["reason"], outcome["started"]) == ("WORKER_LOST", "MAYBE"), outcome
    assert found["runs"] == 1
