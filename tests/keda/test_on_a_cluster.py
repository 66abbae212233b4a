"""The real KEDA on the cluster of hack/cluster: it takes a pool of real capsules from zero to what its calls need, and back.

KEDA's programs run beside the API server, outside of the nodes: their address is the one that the network lets through.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.documents import scaled_object
from support.incluster import ALL_REPLICAS, E2E, Load, call, config_map, probe_pool, standing_caller
from support.keda import Keda
from support.kube import ROOT, SYSTEM, apply, eventually, get, install, kubectl, make_namespace, pods_of, run

if not Path(os.environ.get("KUBECONFIG", "")).is_file():
    pytest.skip("it is run inside the cluster, by `make test-keda`", allow_module_level=True)

pytestmark = pytest.mark.timeout(420)

POOL, SPACE = "by-keda", "snakepit-keda-test"
KEDA_ADDRESS = "10.200.0.1/32"
PEERS = json.dumps([{"ipBlock": {"cidr": KEDA_ADDRESS}}])
WAKES = 2


@pytest.fixture(scope="module")
def keda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keda]:
    programs = subprocess.run(["python3", ROOT / "hack/keda.py"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    with Keda(Path(programs), tmp_path_factory.mktemp("keda"), Path(os.environ["KUBECONFIG"])).running() as made:
        yield made


@pytest.fixture(scope="module")
def space(keda: Keda) -> Iterator[str]:
    make_namespace(SYSTEM)
    install(SYSTEM, "--set", "keda.enabled=true", "--set-json", f"networkPolicy.keda={PEERS}")
    make_namespace(SPACE)
    apply(config_map("probe", E2E / "probe.py", E2E / "load.py"), namespace=SPACE)
    drain = {"timeoutSeconds": 5, "killAfterSeconds": 1}
    apply(probe_pool(POOL, replicas=0, worker={"processes": 2}, drain=drain), namespace=SPACE)
    standing_caller(namespace=SPACE)
    yield SPACE
    kubectl("delete", "scaledobjects", "--all", "-n", SPACE)
    kubectl("delete", "sp", "--all", "-n", SPACE)
    run("helm", "uninstall", "snakepit", "-n", SYSTEM)


def document() -> dict[str, Any]:
    """The ScaledObject of the page, in less time. KEDA is in no pod, and so has no search list for names."""
    found = scaled_object(POOL)
    found["spec"] |= {"cooldownPeriod": 3, "pollingInterval": 3, "maxReplicaCount": 4}
    (trigger,) = found["spec"]["triggers"]
    host, _, port = trigger["metadata"]["scalerAddress"].partition(":")
    trigger["metadata"]["scalerAddress"] = f"{host}.svc.cluster.local:{port}"
    return found


def is_ready() -> bool:
    conditions = get("scaledobject", POOL, namespace=SPACE).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_keda_takes_a_pool_of_real_capsules_from_zero_to_what_its_calls_need_and_back_and_no_call_fails(keda: Keda, space: str) -> None:
    apply(document(), namespace=space)
    eventually(is_ready, f"the ScaledObject is ready\n{keda.log('operator')}", timeout=60)
    took = []
    for _ in range(WAKES):
        eventually(lambda: not pods_of(POOL, namespace=space), f"no pod is left\n{keda.log('operator')}", timeout=120)
        began = time.monotonic()
        call("whoami", {}, pool=POOL, namespace=space)
        took.append(round(time.monotonic() - began, 2))
    with Load("keda", POOL, namespace=space, concurrency=6, seconds=0.25, server=ALL_REPLICAS) as load:
        eventually(lambda: len(pods_of(POOL, namespace=space)) >= 3, "three capsules for six callers", timeout=120)
        load.wait_for_more()
        summary = load.finish()
    eventually(lambda: not pods_of(POOL, namespace=space), "it is at zero again", timeout=120)
    print(f"from zero to an answer, a command line's start included: {took} s; {summary['begun']} calls of six callers")
    assert summary["failures"] == []
