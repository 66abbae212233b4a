"""The chart's HorizontalPodAutoscaler sizes the gateway by CPU, with the real metrics-server. Only `make test-hpa` runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.incluster import ALL_REPLICAS, Load, probe_pool
from support.kube import SYSTEM, apply, eventually, get, install, kubectl, wait_available
from support.metrics_server import metrics_server

pytestmark = pytest.mark.timeout(600)

POOL = "scaled"
NAME = "snakepit-gateway"
SCALED = {
    "enabled": "true",
    "minReplicas": "2",
    "maxReplicas": "4",
    "targetCPU": "100m",
    "behavior.scaleDown.stabilizationWindowSeconds": "0",
}


@pytest.fixture(scope="module")
def gateway(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A release whose gateway is scaled, and a pool. Its namespace."""
    values = [f"--set=gateway.autoscaling.{name}={value}" for name, value in SCALED.items()]
    with metrics_server(Path(os.environ["METRICS_SERVER"]), tmp_path_factory.mktemp("metrics-server")):
        apply(probe_pool(POOL, replicas=1, worker={"processes": 8}), namespace=namespace)
        install(SYSTEM, "--set=gateway.enabled=true", *values)
        wait_available(POOL, namespace=namespace)
        yield namespace
        kubectl("delete", f"sp/{POOL}", "-n", namespace, "--wait=false")
        install(SYSTEM, "--set=gateway.enabled=false")  # without a value helm goes on with the last ones


def has_ready(count: int) -> None:
    def ready() -> bool:
        return get("deployment", NAME, namespace=SYSTEM)["status"].get("readyReplicas") == count

    eventually(ready, f"{count} gateways are ready: {kubectl('describe', f'hpa/{NAME}', '-n', SYSTEM)}", timeout=180)


def test_it_grows_under_load_and_shrinks_when_that_has_gone_and_no_request_fails(gateway: str) -> None:
    has_ready(2)
    with Load("little", POOL, namespace=gateway, server=ALL_REPLICAS, script="web.py", concurrency=1, seconds=0.5) as little:
        with Load("much", POOL, namespace=gateway, server=ALL_REPLICAS, script="web.py", concurrency=8, seconds=0.001) as much:
            has_ready(4)
            much.wait_for_more()
            assert much.finish()["failed"] == {}
        has_ready(2)
        eventually(lambda: len(_pods()) == 2, "the others have ended", timeout=60)
        little.wait_for_more(5)
        assert little.finish()["failed"] == {}


def _pods() -> list[object]:
    return list(get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=gateway"))
