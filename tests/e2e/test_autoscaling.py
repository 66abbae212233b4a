"""Pools that size themselves, on the real cluster: up under load, down after it, to zero and back, with every call accounted for."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
import time
from typing import Any

import pytest

from support.incluster import SERVICE, Load, probe_pool
from support.kube import apply, condition, eventually, get, kubectl, pods_of, wait_available

pytestmark = pytest.mark.timeout(300)

WAKES = int(os.environ.get("SNAKEPIT_WAKES", "4"))
FIRST_CALL = """
import asyncio, sys, time
import snakepit

async def main():
    async with snakepit.Client(sys.argv[1]) as client:
        pool = client.pool(sys.argv[2])
        begin = time.time()
        await pool.call("whoami", timeout=60)
        print(begin, time.time())

asyncio.run(main())
"""


def of(pool: str, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = get("snakepool", pool, namespace=namespace)
    return found


def alive(pool: str, namespace: str) -> list[dict[str, Any]]:
    return [each for each in pods_of(pool, namespace=namespace) if "deletionTimestamp" not in each["metadata"]]


class Steps:
    """When the API server was seen to say each thing of a pool's pods, as Unix times: the machine has one clock."""

    def __init__(self, pool: str, namespace: str) -> None:
        command = ["kubectl", "get", "pods", "-n", namespace, "-l", f"snakepit.dev/pool={pool}", "--watch", "-o", "json"]
        self._kubectl = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._at: dict[str, dict[str, float]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._kubectl.terminate()
        self._kubectl.wait()
        self._reader.join()
        assert self._kubectl.stdout is not None
        self._kubectl.stdout.close()

    def _read(self) -> None:
        assert self._kubectl.stdout is not None
        text = ""
        for line in self._kubectl.stdout:
            text += line
            if line.startswith("}"):
                self._take(json.loads(text), time.time())
                text = ""

    def _take(self, pod: dict[str, Any], now: float) -> None:
        at, status = self._at.setdefault(pod["metadata"]["uid"], {}), pod.get("status") or {}
        containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        runs = [f"{each['name']} runs" for each in containers if "running" in each["state"]]
        said = ["created", *(["scheduled"] if "nodeName" in pod["spec"] else []), *runs]
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))
        for what in [*said, *(["ready"] if ready else [])]:
            at.setdefault(what, now)

    def since(self, begin: float) -> dict[str, float]:
        """Seconds from then, of the pod that was made after it."""
        return {what: round(when - begin, 2) for at in list(self._at.values()) if at["created"] > begin for what, when in at.items()}


def first_call(pool: str, namespace: str) -> tuple[float, float]:
    """When a call from inside the cluster began, and when it was answered; the connection is there before."""
    text = kubectl("exec", "caller", "-n", namespace, "--", "python3", "-c", FIRST_CALL, SERVICE, f"{namespace}/{pool}")
    begin, end = map(float, text.split())
    return begin, end


@pytest.mark.usefixtures("beside")
def test_a_pool_grows_under_load_says_why_and_shrinks_after_it_and_no_call_fails(namespace: str) -> None:
    name = "elastic"
    policy = {"minReplicas": 1, "maxReplicas": 4, "scaleDownStabilizationSeconds": 10}
    apply(probe_pool(name, replicas=7, autoscaling=policy, worker={"processes": 2}), namespace=namespace)
    wait_available(name, namespace=namespace)
    assert len(alive(name, namespace)) == 1, "replicas is ignored"
    with Load(name, name, namespace=namespace, concurrency=6, seconds=0.25) as load:
        eventually(lambda: len(alive(name, namespace)) == 4, "four capsules for six calls at a time", timeout=60)
        eventually(lambda: of(name, namespace)["status"]["readyReplicas"] == 4, "all of them are ready")
        status = of(name, namespace)["status"]
        assert "busy slots" in status["recommendation"]
        assert condition(of(name, namespace), "AutoscalingActive")["status"] == "True"
        load.wait_for_more()
        summary = load.finish()
    assert summary["failures"] == []
    eventually(lambda: len(alive(name, namespace)) == 1, "one capsule is left when the load has gone", timeout=120)
    assert "spec.replicas is ignored" in condition(of(name, namespace), "AutoscalingActive")["message"]
    kubectl("delete", f"sp/{name}", "-n", namespace, "--wait=false")


def test_a_pool_goes_to_zero_and_the_first_call_waits_for_its_capsule(namespace: str) -> None:
    name = "sleeper"
    policy = {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 2}
    drain = {"timeoutSeconds": 5, "killAfterSeconds": 1}
    apply(probe_pool(name, autoscaling=policy, drain=drain), namespace=namespace)
    wait_available(name, namespace=namespace)
    took = []
    with Steps(name, namespace) as steps:
        for _ in range(WAKES):
            eventually(lambda: not pods_of(name, namespace=namespace), "no pod is left", timeout=60)
            eventually(lambda: of(name, namespace)["status"]["reason"] == "ScaledToZero", "the status says so")
            begin, end = first_call(name, namespace)
            took.append(round(end - begin, 2))
            print(f"answered after {took[-1]} s; after so many the API server said: {json.dumps(steps.since(begin))}")
    print(f"from zero to an answer: {sorted(took)} s, median {statistics.median(took):.2f}")
    assert max(took) < 30
    kubectl("delete", f"sp/{name}", "-n", namespace, "--wait=false")


@pytest.mark.usefixtures("beside")
def test_a_pool_without_autoscaling_is_told_how_large_it_should_be(namespace: str) -> None:
    name = "advised"
    apply(probe_pool(name, replicas=1, worker={"processes": 2}), namespace=namespace)
    wait_available(name, namespace=namespace)
    with Load(name, name, namespace=namespace, concurrency=6, seconds=0.25) as load:
        eventually(lambda: of(name, namespace)["status"].get("recommendedReplicas", 0) > 1, "more are advised", timeout=60)
        load.finish()
    assert len(alive(name, namespace)) == 1
    kubectl("delete", f"sp/{name}", "-n", namespace, "--wait=false")
