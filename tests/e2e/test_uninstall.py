"""Deleting pools and uninstalling the chart, in any order, Redis up or down: nothing hangs, and only the CRD and Redis' volume stay."""

from __future__ import annotations

import json

import pytest

from support.incluster import ALL_REPLICAS, E2E, Load, config_map, probe_pool
from support.kube import RELEASE, SYSTEM, apply, eventually, install, kubectl, make_namespace, run, wait_available

pytestmark = pytest.mark.timeout(300)

SPACE = "snakepit-e2e-uninstall"


@pytest.fixture(scope="module")
def space(release: None):
    make_namespace(SPACE)
    apply(config_map("probe", E2E / "probe.py", E2E / "load.py"), namespace=SPACE)
    yield SPACE
    kubectl("delete", "namespace", SPACE, "--wait=false")


def a_pool(space: str) -> None:
    apply(probe_pool("last", replicas=1), namespace=space)
    wait_available("last", namespace=space)


def load(space: str) -> Load:
    return Load("last", "last", namespace=space, server=ALL_REPLICAS, concurrency=2)


def none_was_cut_off(calls: Load) -> None:
    """Callers are told, and what ran was finished."""
    eventually(calls.failures, "callers are told")
    account = calls.finish()
    assert {each["started"] for each in account["failures"]} == {"NO"}, account["failures"]


def uninstall() -> None:
    run("helm", "uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout", "90s", timeout=120)


def everything_of_ours(space: str) -> list[str]:
    """What is left of pools and release, the CRD, the volume of Redis and the config of the tests apart."""
    kinds = "deployments,statefulsets,services,pods,secrets,configmaps,serviceaccounts,roles,rolebindings"
    kinds += ",poddisruptionbudgets,networkpolicies,leases,horizontalpodautoscalers"
    names: list[str] = []
    for namespace in (SYSTEM, space):
        items = json.loads(kubectl("get", kinds, "-n", namespace, "-o", "json"))["items"]
        names += [f"{namespace}/{i['kind']}/{i['metadata']['name']}" for i in items]
    cluster = json.loads(kubectl("get", "clusterroles,clusterrolebindings", "-o", "json", "-l", "app.kubernetes.io/part-of=snakepit"))[
        "items"
    ]
    names += [f"{i['kind']}/{i['metadata']['name']}" for i in cluster]
    return [n for n in names if not n.endswith(("/kube-root-ca.crt", "/ServiceAccount/default", "/ConfigMap/probe"))]


def only_the_crd_is_left(space: str) -> None:
    eventually(lambda: everything_of_ours(space) == [] or _fail(everything_of_ours(space)), "nothing but the CRD is left", timeout=120)
    assert "snakepools.snakepit.dev" in kubectl("get", "crd", "-o", "name")


def _fail(names: list[str]) -> bool:
    raise AssertionError(f"still there: {names}")


def test_pools_first_then_the_chart_with_redis_down(space: str) -> None:
    a_pool(space)
    kubectl("scale", "statefulset", "-n", SYSTEM, "-l", "app.kubernetes.io/component=redis", "--replicas=0")
    with load(space) as calls:
        calls.wait_for_more()
        kubectl("delete", "sp", "--all", "-n", space, "--timeout=30s")
        uninstall()
        none_was_cut_off(calls)
    only_the_crd_is_left(space)


def test_the_chart_first_then_the_pools(space: str) -> None:
    install()
    a_pool(space)
    with load(space) as calls:
        calls.wait_for_more()
        uninstall()
        kubectl("delete", "sp", "--all", "-n", space, "--timeout=30s")
        none_was_cut_off(calls)
    only_the_crd_is_left(space)
