"""The store on the cluster: Redis killed and started empty, Redis stopped and continued; what each replica says meanwhile and after."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.containers import process_of
from support.incluster import probe_pool
from support.kube import HERMETIC, SYSTEM, apply, get, kubectl, wait_available
from support.scenes import HURRY, play

pytestmark = pytest.mark.timeout(180)

POOL = "storing"
REDIS = "snakepit-redis"

Scene = Callable[..., Any]


@pytest.fixture(scope="module")
def scene(namespace: str) -> Iterator[Scene]:
    """Play a scene with a pool of two capsules of two workers."""
    apply(probe_pool(POOL, "actor:Actor", replicas=2, worker={"processes": 2}), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield lambda name, **options: play("session_scenes.py", name, pool=POOL, namespace=namespace, **options)
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def test_with_redis_killed_calls_and_known_bindings_go_on_store_needs_fail_at_once_and_all_of_it_recovers(scene: Scene) -> None:
    def kill() -> None:
        kubectl("scale", "statefulset", REDIS, "--replicas=0", "-n", SYSTEM)
        kubectl("delete", "pod", f"{REDIS}-0", "-n", SYSTEM, "--ignore-not-found", *HURRY)

    def start() -> None:
        kubectl("scale", "statefulset", REDIS, "--replicas=1", "-n", SYSTEM)

    try:
        found = scene("store_goes", harm={"take the store away": kill, "bring it back": start})
    finally:
        start()
    check(found)
    # The cluster has a default StorageClass, so that the chart's Redis has a volume.
    assert [each["answer"] for each in found["back"]] == [["before", 2]] * 2
    assert found["after"] == [["after", 3]] * 2


@pytest.mark.skipif(not HERMETIC, reason="the nodes' processes can't be reached from here")
def test_with_redis_stopped_calls_and_known_bindings_go_on_store_needs_fail_soon_and_nothing_is_lost(scene: Scene) -> None:
    server = process_of(get("pod", f"{REDIS}-0", namespace=SYSTEM), "-server")
    try:
        found = scene(
            "store_goes",
            harm={
                "take the store away": lambda: os.kill(server, signal.SIGSTOP),
                "bring it back": lambda: os.kill(server, signal.SIGCONT),
            },
        )
    finally:
        os.kill(server, signal.SIGCONT)
    check(found)
    assert [each["answer"] for each in found["back"]] == [["before", 2]] * 2
    assert found["after"] == [["after", 3]] * 2


def check(found: dict[str, Any]) -> None:
    assert [each["reason"] for each in found["first"]] == ["STORE_UNAVAILABLE"] * 2
    assert found["noticed"] < 10, "about 1.5 s is how long the first operation waits"
    waited = [refused["seconds"] for away in found["away"] for refused in away["needs"].values()]
    assert statistics.median(waited) < 1, waited
    for away in found["away"]:
        assert away["hint"]["reason"] == ""
        assert away["known"]["reason"] == ""
        assert away["known"]["answer"] == found["bound"]
        for need, refused in away["needs"].items():
            assert refused["reason"] == "STORE_UNAVAILABLE", need
            assert refused["started"] == ("YES" if need == "tool that writes" else "NO"), need
    before, meanwhile, afterwards = found["workers"]
    assert before == meanwhile == afterwards, "no worker died"
