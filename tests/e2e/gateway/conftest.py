"""What all tests of this folder have: the release's gateway, a pool, and ways to ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.bearer import bearing
from support.cluster_gateway import POOL, PORT, Ask, address
from support.incluster import authority, call_token, config_map, probe_pool
from support.kube import ROOT, SYSTEM, apply, kubectl, wait_available

ASK = """
import json, sys
sys.path.insert(0, "/code")
import web
words, headers = json.load(sys.stdin)
print(json.dumps(web.asked(*words, **headers)))
"""
EXAMPLES = {
    "notes": (ROOT / "examples/notes/notes/tools.py", {"processes": 2}),
    "everything": (ROOT / "tests/support/everything.py", {"profile": "thread"}),
}
"""Pools, each of one file, and its workers."""


@pytest.fixture(scope="package")
def gateway(namespace: str) -> Iterator[str]:
    """A pool behind the release's gateway: its path there."""
    apply(probe_pool(POOL, replicas=2, worker={"processes": 2}), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield f"/v1/pools/{namespace}/{POOL}"
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--wait=false")


@pytest.fixture(scope="package")
def ask(gateway: str, namespace: str) -> Ask:
    """Its command is run in the standing pod."""

    def ask(*words: Any, **headers: str) -> dict[str, Any]:
        command = ("exec", "-i", "caller", "-n", namespace, "--", "python3", "-c", ASK)
        return dict(json.loads(kubectl(*command, stdin=json.dumps([words, headers]))))

    return ask


@pytest.fixture(scope="package")
def plain(gateway: str, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """For programs that know neither tokens nor our authority: the gateway's URL, behind which requests have the namespace's token."""
    ca = authority(tmp_path_factory.mktemp("plain"))
    with bearing(call_token("default", namespace), address(), PORT, f"snakepit-gateway.{SYSTEM}", ca) as url:
        yield url


@pytest.fixture(scope="package")
def examples(gateway: str, namespace: str) -> Iterator[None]:
    pools = [probe_pool(name, f"{file.stem}:{name.title()}", replicas=1, worker=worker) for name, (file, worker) in EXAMPLES.items()]
    for pool in pools:
        pool["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "examples"
    apply(config_map("examples", *(file for file, _ in EXAMPLES.values())), *pools, namespace=namespace)
    for name in EXAMPLES:
        wait_available(name, namespace=namespace)
    yield
    kubectl("delete", *(f"sp/{name}" for name in EXAMPLES), "-n", namespace, "--wait=false")
