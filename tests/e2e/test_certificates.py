"""The control plane's certificate and its authority roll while calls come, and pools bring and take what callers know it by."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from support.incluster import ALL_REPLICAS, Load, probe_pool
from support.kube import SYSTEM, apply, eventually, get, kubectl, make_namespace, pods_of, wait_available

pytestmark = pytest.mark.timeout(300)

POOL = "rolled"
SPACE = "snakepit-e2e-certificates"
LOOK = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 7800), timeout=5))"
MOUNTED = "/var/run/secrets/snakepit/ca.crt"


@pytest.fixture(scope="module")
def pool(namespace: str) -> Iterator[str]:
    apply(probe_pool(POOL, replicas=2), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield POOL
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def secret(name: str, key: str) -> str:
    return base64.b64decode(get("secret", name, namespace=SYSTEM)["data"][key]).decode()


def mounted(pod: str, container: str, namespace: str) -> str:
    return kubectl("exec", pod, "-c", container, "-n", namespace, "--", "cat", MOUNTED)


def shown() -> set[str]:
    """What the replicas show to whoever dials them now. From within, as NetworkPolicies let nobody dial them from here."""
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=control-plane")
    return {kubectl("exec", each["metadata"]["name"], "-n", SYSTEM, "--", "python3", "-c", LOOK).strip() for each in pods}


def test_certificate_and_authority_roll_under_load_and_no_call_fails(namespace: str, pool: str) -> None:
    before = shown()
    with Load("rolling", pool, namespace=namespace, server=ALL_REPLICAS, concurrency=9, session="rolling", script="roll.py") as calls:
        calls.wait_for_more()
        kubectl("delete", "secret", "snakepit-ca", "-n", SYSTEM)
        trusting = [(calls.name, "client"), *((pod["metadata"]["name"], "snakepit-agent") for pod in pods_of(pool, namespace=namespace))]
        eventually(lambda: all(mounted(*each, namespace).count("BEGIN CERT") == 2 for each in trusting), "everybody knows both authorities")
        assert shown() == before
        kubectl("delete", "secret", "snakepit-tls", "-n", SYSTEM)
        eventually(lambda: shown() == {secret("snakepit-tls", "tls.crt").strip()} != before, "the replicas show the new certificate")
        calls.wait_for_more(200)
        assert calls.finish()["failed"] == {}


def told(namespace: str) -> list[Any]:
    return [each["data"]["ca.crt"] for each in get("configmaps", namespace=namespace) if each["metadata"]["name"] == "snakepit-ca"]


@pytest.mark.usefixtures("beside")
def test_who_is_to_be_trusted_comes_and_goes_with_the_pools_of_a_namespace(namespace: str) -> None:
    make_namespace(SPACE)
    try:
        assert told(SPACE) == []
        for name in ("one", "two"):
            apply(probe_pool(name, suspended=True), namespace=SPACE)
        eventually(lambda: told(SPACE) == [secret("snakepit-tls", "ca.crt")], "callers there are told")
        kubectl("delete", "sp/one", "-n", SPACE)
        owners = eventually(
            lambda: get("configmap", "snakepit-ca", namespace=SPACE)["metadata"]["ownerReferences"][1:] == [], "one owns it"
        )
        assert owners
        kubectl("delete", "sp/two", "-n", SPACE)
        eventually(lambda: told(SPACE) == [], "it is gone with the last pool")
        assert told(SYSTEM) == [secret("snakepit-tls", "ca.crt")]
    finally:
        kubectl("delete", "namespace", SPACE, "--wait=false")
