"""The real KEDA sizes a pool on the test cluster: up from zero, with the load, and back to zero, and no call fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.documents import scaled_object
from support.incluster import SERVICE, Load, probe_pool
from support.keda import Keda
from support.kube import ROOT, apply, eventually, get, kubectl, pods_of, run

pytestmark = pytest.mark.timeout(420)

WAKES = 3
FIRST_CALL = """
import asyncio, sys, time
import snakepit

async def main():
    async with snakepit.Client(sys.argv[1]) as client:
        pool = client.pool(sys.argv[2])
        begin = time.monotonic()
        await pool.call("whoami", timeout=60)
        print(time.monotonic() - begin)

asyncio.run(main())
"""


def first_call_seconds(pool: str, namespace: str) -> float:
    """How long a call from inside the cluster takes, the connection not counted."""
    return float(kubectl("exec", "caller", "-n", namespace, "--", "python3", "-c", FIRST_CALL, SERVICE, f"{namespace}/{pool}"))


def scale(namespace: str, name: str = "digits", **spec: Any) -> None:
    """The ScaledObject of the documents, in less time."""
    document = scaled_object(name)
    document["spec"] |= {"cooldownPeriod": 5, "pollingInterval": 5, **spec}
    apply(document, namespace=namespace)


def status_of(namespace: str, name: str = "digits") -> dict[str, str]:
    """Of each condition of the ScaledObject."""
    found = get("scaledobject", name, namespace=namespace).get("status", {}).get("conditions", [])
    return {each["type"]: each["status"] for each in found}


def test_the_proto_that_we_serve_is_that_of_the_keda_that_we_are_tried_with(keda: Keda) -> None:
    own = (ROOT / "proto/keda/externalscaler.proto").read_text()
    assert own.endswith((keda.programs / "externalscaler.proto").read_text())


def test_keda_brings_a_pool_from_zero_to_what_its_calls_need_and_back_and_no_call_fails(keda: Keda, namespace: str) -> None:
    drain = {"timeoutSeconds": 5, "killAfterSeconds": 1}
    apply(probe_pool("digits", replicas=0, drain=drain, worker={"processes": 2}), namespace=namespace)
    eventually(lambda: get("sp", "digits", namespace=namespace)["status"].get("inUse") is False, "the pool is known, and not in use")
    scale(namespace)
    eventually(lambda: status_of(namespace).get("Ready") == "True", f"the ScaledObject is ready\n{keda.log('operator')}")
    took = []
    for _ in range(WAKES):
        eventually(lambda: not get("pods", namespace=namespace, selector="snakepit.dev/pool=digits"), "no pod is left", timeout=120)
        eventually(lambda: get("sp", "digits", namespace=namespace)["status"]["reason"] == "ScaledToZero", "the status says so")
        took.append(first_call_seconds("digits", namespace))
    print(f"from zero to an answer, by KEDA: {json.dumps([round(each, 2) for each in took])} s")
    with Load("keda", "digits", namespace=namespace, concurrency=6, seconds=0.25) as load:
        eventually(lambda: len(pods_of("digits", namespace=namespace)) >= 3, f"the pool grows\n{keda.log('operator')}", timeout=120)
        load.wait_for_more()
        summary = load.finish()
    assert summary["failures"] == []
    eventually(lambda: not pods_of("digits", namespace=namespace), f"it is at zero again\n{keda.log('operator')}", timeout=180)
    print(f"calls: {WAKES + summary['begun']}, answered: {WAKES + summary['ok']}, failed: {sum(summary['failed'].values())}")


def test_a_pool_that_sizes_itself_is_refused_to_keda_where_the_user_looks(keda: Keda, namespace: str) -> None:
    apply(probe_pool("itself", autoscaling={"minReplicas": 0, "maxReplicas": 2}), namespace=namespace)
    scale(namespace, "itself")

    def said() -> bool:
        text = run("kubectl", "describe", "scaledobject", "itself", "-n", namespace).stdout
        assert "spec.autoscaling" in text, f"{text}\n{keda.log('operator')}"
        return True

    eventually(said, "the ScaledObject says why", timeout=60)
