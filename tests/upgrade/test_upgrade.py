"""A release of another tree is upgraded to this one under load, by the commands of docs/operations.md, until all of it is new.

Callers are the SDK of then and of now, and plain gRPC with the documented retry policy, each with and without sessions; and both SDKs with
large and streamed calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.incluster import ALL_REPLICAS, CLIENT_IMAGE, E2E, SERVICE, Load, config_map, probe_pool
from support.kube import (
    IMAGE_REPOSITORY,
    IMAGE_TAG,
    ROOT,
    SYSTEM,
    apply,
    eventually,
    get,
    is_ready,
    kubectl,
    make_namespace,
    run,
    wait_available,
)
from support.pages import Shell, blocks

if "FROM_TREE" not in os.environ:
    pytest.skip("`make test-upgrade FROM=REF` says which tree it is upgraded from", allow_module_level=True)

pytestmark = pytest.mark.timeout(600)

FROM_TREE, FROM_TAG = Path(os.environ["FROM_TREE"]), os.environ["FROM_TAG"]
POOL, SPACE, REDIS = "upgraded", "snakepit-upgrade", "snakepit-redis-0"
PODS = 7
"""Two of the control plane, of the operator and of the pool, and Redis."""
PLAIN, BULKY = (Path(__file__).with_name(name) for name in ("plain.py", "bulky.py"))
SDK_OF_THEN = f"{IMAGE_REPOSITORY}/control-plane:{FROM_TAG}"
CALLERS = {
    "then": {"server": ALL_REPLICAS, "image": SDK_OF_THEN},
    "now": {"server": ALL_REPLICAS, "image": CLIENT_IMAGE},
    "plain": {"server": SERVICE, "image": CLIENT_IMAGE, "script": "plain.py"},
}


def pool(tag: str) -> dict[str, Any]:
    return probe_pool(POOL, replicas=2, worker={"processes": 4}, image=f"{IMAGE_REPOSITORY}/worker:{tag}")


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    make_namespace(SYSTEM)
    chart = str(FROM_TREE / "charts/snakepit")
    run("helm", "install", "snakepit", chart, "-n", SYSTEM, "--wait", "--set", f"image.tag={FROM_TAG}", timeout=240)
    make_namespace(SPACE)
    code = config_map("probe", E2E / "probe.py", E2E / "load.py", PLAIN, BULKY)
    code["data"]["policy.json"] = blocks("docs/clients.md", "json", "Trying again")[0].text
    apply(code, namespace=SPACE)
    apply(pool(FROM_TAG), namespace=SPACE)
    wait_available(POOL, namespace=SPACE)
    yield SPACE
    kubectl("delete", "sp", "--all", "-n", SPACE)
    run("helm", "uninstall", "snakepit", "-n", SYSTEM)


def callers() -> dict[str, dict[str, Any]]:
    """What each does; those whose names end in `calls` need no store."""
    plain = {f"{name}-calls": how for name, how in CALLERS.items()}
    bulky = {f"{name}-bulky-calls": {**CALLERS[name], "script": BULKY.name} for name in ("then", "now")}
    return {**plain, **bulky, **{f"{name}-session": {**how, "session": f"s-{name}"} for name, how in CALLERS.items()}}


def pods() -> dict[str, dict[str, Any]]:
    """By uid: all that there are of release and pool."""
    found = get("pods", namespace=SYSTEM) + get("pods", namespace=SPACE, selector=f"snakepit.dev/pool={POOL}")
    return {pod["metadata"]["uid"]: pod for pod in found}


def all_new(before: Set[str]) -> bool:
    now = pods()
    assert all(is_ready(pod) for pod in now.values())
    kept = {pod["metadata"]["name"] for uid, pod in now.items() if uid in before}
    # Its pod is replaced only where the chart says something else of it.
    assert kept <= {REDIS}, kept
    return len(now) == PODS


def test_an_upgrade_until_all_is_new_costs_no_call(space: str, tmp_path: Path) -> None:
    shell, before = Shell(ROOT, tmp_path / "state", {}), set(pods())
    (upgrade,), (restart,) = (blocks("docs/operations.md", "sh", heading) for heading in ("Upgrade", "Restart"))
    loads = [Load(name, POOL, namespace=space, concurrency=2, seconds=0.05, **how) for name, how in callers().items()]
    with ExitStack() as stack, ThreadPoolExecutor(len(loads)) as threads:
        for load in threads.map(Load.__enter__, loads):
            stack.push(load)
        shell.run(f"{upgrade.text.rstrip()} --set image.tag={IMAGE_TAG}")
        for name in ("deployment/snakepit-control-plane", "deployment/snakepit-operator", f"statefulset/{REDIS}"):
            kubectl("rollout", "status", name.removesuffix("-0"), "-n", SYSTEM, "--timeout=150s", timeout=160)
        # The author has built the image anew, on the new base. The restart is for those who haven't.
        apply(pool(IMAGE_TAG), namespace=space)
        shell.run(restart.text.replace("sp/digits", f"-n {space} sp/{POOL}"))
        eventually(lambda: all_new(before), "all pods are new", timeout=180)
        for load in loads:
            load.wait_for_more()
        failures = {load.name.removeprefix("load-"): load.finish()["failures"] for load in loads}
    assert {name: failed for name, failed in failures.items() if failed and name.endswith("calls")} == {}
    kept = get("pod", REDIS, namespace=SYSTEM)["metadata"]["uid"] in before
    reasons = {failed["reason"] for each in failures.values() for failed in each}
    assert reasons <= (set() if kept else {"STORE_UNAVAILABLE"}), "a session needs its store"
