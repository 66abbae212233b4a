"""A HorizontalPodAutoscaler of Kubernetes sizes a pool, by the numbers that the operator serves through the API server."""

from __future__ import annotations

import json

import pytest

from support.documents import hpa
from support.incluster import Load, probe_pool
from support.kube import apply, eventually, get, kubectl, pods_of, run, wait_available

pytestmark = pytest.mark.timeout(300)

API = "/apis/custom.metrics.k8s.io/v1beta2"
SERVICE = "apiservice/v1beta2.custom.metrics.k8s.io"
TWO_SLOTS = {"replicas": 1, "worker": {"processes": 2}}


@pytest.fixture(scope="module")
def metrics_api(release: None) -> None:
    """The release has it because tests have this fixture."""
    kubectl("wait", "--for=condition=Available", SERVICE, "--timeout=60s")


def test_the_numbers_are_read_by_who_may_and_by_nobody_else(metrics_api: None, namespace: str) -> None:
    pool = "numbered"
    apply(probe_pool(pool, **TWO_SLOTS), namespace=namespace)
    wait_available(pool, namespace=namespace)

    def path(name: str) -> str:
        return f"{API}/namespaces/{namespace}/snakepools.snakepit.dev/{name}/load_percent"

    def value(name: str) -> str:
        items = json.loads(kubectl("get", "--raw", path(name)))["items"]
        return "".join(each["value"] for each in items if each["describedObject"]["name"] == pool)

    for name in (pool, "*"):
        assert eventually(lambda name=name: value(name), "the number is known") == "0"
    refused = run("kubectl", "get", "--raw", path(pool), "--as", "nobody", check=False)
    assert refused.returncode
    assert "Forbidden" in refused.stderr
    kubectl("delete", f"sp/{pool}", "-n", namespace, "--wait=false")


@pytest.mark.usefixtures("beside", "metrics_api")
def test_an_hpa_grows_a_pool_under_load_and_shrinks_it_after_it_and_no_call_fails(namespace: str) -> None:
    pool = "counted"
    apply(probe_pool(pool, **TWO_SLOTS), namespace=namespace)
    wait_available(pool, namespace=namespace)
    manifest = hpa(pool)
    manifest["spec"] |= {"maxReplicas": 4, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    apply(manifest, namespace=namespace)
    with Load(pool, pool, namespace=namespace, concurrency=6, seconds=0.25) as load:
        eventually(lambda: len(pods_of(pool, namespace=namespace)) == 4, "four capsules for six calls at a time", timeout=90)
        eventually(lambda: get("snakepool", pool, namespace=namespace)["status"]["readyReplicas"] == 4, "all of them are ready")
        load.wait_for_more()
        summary = load.finish()
    assert summary["failures"] == []
    eventually(lambda: len(pods_of(pool, namespace=namespace)) == 1, "one capsule is left when the load has gone", timeout=150)
    told = get("hpa", pool, namespace=namespace)["status"]
    assert told["currentMetrics"][0]["object"]["metric"]["name"] == "recommended_replicas"
    kubectl("delete", f"hpa/{pool}", f"sp/{pool}", "-n", namespace, "--wait=false")
