"""A HorizontalPodAutoscaler of Kubernetes sizes a pool, by the numbers that the operator serves through the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.documents import hpa
from support.incluster import Load, probe_pool
from support.kube import SYSTEM, apply, eventually, get, install, kubectl, pods_of, run, wait_available

pytestmark = pytest.mark.timeout(300)

API = "/apis/custom.metrics.k8s.io/v1beta2"
SERVICE = "apiservice/v1beta2.custom.metrics.k8s.io"
NAME = "counted"


@pytest.fixture(scope="module")
def metrics_api(namespace: str) -> Iterator[None]:
    """The release with metricsApi.enabled, and then without it again."""
    install(SYSTEM, "--set", "metricsApi.enabled=true")
    kubectl("wait", "--for=condition=Available", SERVICE, "--timeout=60s")
    yield
    install(SYSTEM, "--set", "metricsApi.enabled=false")
    assert not kubectl("get", SERVICE, "--ignore-not-found")


@pytest.fixture(scope="module")
def pool(metrics_api: None, namespace: str) -> Iterator[str]:
    """The namespace that it is in, of one capsule with two slots."""
    apply(probe_pool(NAME, replicas=1, worker={"processes": 2}), namespace=namespace)
    wait_available(NAME, namespace=namespace)
    yield namespace
    kubectl("delete", f"sp/{NAME}", "-n", namespace, "--wait=false")


def test_the_numbers_are_read_by_who_may_and_by_nobody_else(pool: str) -> None:
    def path(name: str) -> str:
        return f"{API}/namespaces/{pool}/snakepools.snakepit.dev/{name}/load_percent"

    def value(name: str) -> str:
        items = json.loads(kubectl("get", "--raw", path(name)))["items"]
        return "".join(each["value"] for each in items if each["describedObject"]["name"] == NAME)

    for name in (NAME, "*"):
        assert eventually(lambda name=name: value(name), "the number is known") == "0"
    refused = run("kubectl", "get", "--raw", path(NAME), "--as", "nobody", check=False)
    assert refused.returncode
    assert "Forbidden" in refused.stderr


def test_an_hpa_grows_a_pool_under_load_and_shrinks_it_after_it_and_no_call_fails(pool: str) -> None:
    manifest = hpa(NAME)
    manifest["spec"] |= {"maxReplicas": 4, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    apply(manifest, namespace=pool)
    with Load(NAME, NAME, namespace=pool, concurrency=6, seconds=0.25) as load:
        eventually(lambda: len(pods_of(NAME, namespace=pool)) == 4, "four capsules for six calls at a time", timeout=90)
        eventually(lambda: get("snakepool", NAME, namespace=pool)["status"]["readyReplicas"] == 4, "all of them are ready")
        load.wait_for_more()
        summary = load.finish()
    assert summary["failures"] == []
    eventually(lambda: len(pods_of(NAME, namespace=pool)) == 1, "one capsule is left when the load has gone", timeout=150)
    told = get("hpa", NAME, namespace=pool)["status"]
    assert told["currentMetrics"][0]["object"]["metric"]["name"] == "recommended_replicas"
    kubectl("delete", f"hpa/{NAME}", "-n", pool)
