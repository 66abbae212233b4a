"""Who may speak to whom, as the cluster's network enforces it: NetworkPolicies of the chart, and of the operator beside each pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.incluster import SERVICE, call, client_pod, config_map, probe_pool
from support.kube import HERMETIC, ROOT, SYSTEM, apply, eventually, get, kubectl, make_namespace, run, wait_available

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not HERMETIC, reason="whether the cluster's network enforces NetworkPolicies isn't known"),
]

POOL = "dialler"
STRANGERS = "snakepit-strangers"
REFUSED = {"ConnectionRefusedError", "TimeoutError"}
"""How a network plugin says no."""

API_SERVER = "kubernetes.default.svc:443"
ALSO_THE_API_SERVER = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "also"},
    "spec": {
        "podSelector": {"matchLabels": {"snakepit.dev/pool": POOL}},
        "policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": 6443}]}],
    },
}

DIAL = """
import json, sys
sys.path.insert(0, "/code")
from intruder import dialled
print(json.dumps(dialled(sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def pool(namespace: str) -> str:
    apply(probe_pool(POOL, adapter="intruder:Intruder", replicas=2), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    return POOL


@pytest.fixture(scope="module")
def strangers(namespace: str) -> Iterator[str]:
    """A namespace that nobody has labelled, with a pod that has a token."""
    make_namespace(STRANGERS, purpose="none")
    pod = client_pod("stranger", "load.py")
    pod["spec"]["containers"][0]["command"] = ["sleep", "7200"]
    apply(config_map("probe", ROOT / "tests/e2e/intruder.py"), *trust(namespace), pod, namespace=STRANGERS)
    kubectl("wait", "--for=condition=Ready", "pod/stranger", "-n", STRANGERS, "--timeout=60s")
    yield STRANGERS
    kubectl("delete", "namespace", STRANGERS, "--wait=false")


def trust(namespace: str) -> list[dict[str, Any]]:
    """Whom the callers of that namespace trust, for another one, where nobody has brought it."""
    found = get("configmap", namespace=namespace)
    return [{**each, "metadata": {"name": "snakepit-ca"}} for each in found if each["metadata"]["name"] == "snakepit-ca"]


def addresses(namespace: str, selector: str, *ports: int) -> list[str]:
    pods = get("pods", namespace=namespace, selector=selector)
    found = [f"{pod['status']['podIP']}:{port}" for pod in pods if "deletionTimestamp" not in pod["metadata"] for port in ports]
    assert found, selector
    return found


def of(component: str, *ports: int) -> list[str]:
    return addresses(SYSTEM, f"app.kubernetes.io/component={component}", *ports)


def dialled(pod: str, namespace: str, targets: list[str]) -> dict[str, str]:
    """What becomes of a connection from that pod to each of them."""
    return dict(json.loads(kubectl("exec", pod, "-n", namespace, "--", "python3", "-c", DIAL, *targets)))


def calls(namespace: str, pool: str) -> Any:
    """What the stranger's call ends with."""
    argv = ["snakepit", "call", f"{namespace}/{pool}", "tokens", "--server", SERVICE, "--timeout", "5", "-o", "json"]
    return run("kubectl", "exec", "stranger", "-n", STRANGERS, "--", *argv, check=False).stderr


def all_refused(found: dict[str, str]) -> bool:
    assert set(found.values()) <= REFUSED, found
    return True


def test_a_strangers_pod_is_refused_at_the_network_and_where_that_lets_it_through_by_right(
    namespace: str, pool: str, strangers: str
) -> None:
    targets = of("control-plane", 7800, 7801, 7802, 7803) + of("redis", 6379) + of("operator", 7801, 7803)
    targets += addresses(namespace, f"snakepit.dev/pool={pool}", 7801, 7802)
    assert all_refused(dialled("stranger", strangers, targets))
    assert "is this pod's namespace labelled snakepit.dev/caller=true" in calls(namespace, pool)

    kubectl("label", "namespace", strangers, "snakepit.dev/caller=true")
    open_now = {*of("control-plane", 7800, 7802)}

    def let_through() -> bool:
        found = dialled("stranger", strangers, targets)
        assert {address for address, what in found.items() if what == "connected"} == open_now
        return True

    eventually(let_through, "who is labelled reaches the ports for callers, and nothing else", timeout=60)
    said = calls(namespace, pool)
    assert "PERMISSION_DENIED" in said, said
    assert "create" in said, said
    assert "snakepools" in said, said

    kubectl("label", "namespace", strangers, "snakepit.dev/caller-")
    eventually(lambda: all_refused(dialled("stranger", strangers, targets)), "the network is closed again", timeout=60)


def test_a_tool_reaches_the_control_plane_and_the_dns_and_what_its_namespace_allows_besides(namespace: str, pool: str) -> None:
    def tried(tool: str, **arguments: Any) -> Any:
        return call(tool, arguments, pool=pool, namespace=namespace)

    control_plane, capsules = of("control-plane", 7800, 7802), addresses(namespace, f"snakepit.dev/pool={pool}", 7802)
    kubelets = [f"{each['status']['addresses'][0]['address']}:10250" for each in get("nodes", namespace="")]
    others = of("control-plane", 7801, 7803) + of("redis", 6379) + of("operator", 7801, 7803) + [API_SERVER]
    found = tried("dial", addresses=control_plane + capsules + kubelets + others)
    print(found)
    assert {found[address] for address in control_plane} == {"connected"}
    assert tried("look_up", name=f"snakepit-control-plane.{SYSTEM}") in {address.partition(":")[0] for address in control_plane}
    assert all_refused({address: found[address] for address in kubelets + others})
    # A pod reaches itself without any network.
    assert sorted(found[address] == "connected" for address in capsules) == [False, True]

    apply(ALSO_THE_API_SERVER, namespace=namespace)
    eventually(lambda: tried("dial", addresses=[API_SERVER]) == {API_SERVER: "connected"}, "its namespace allows it", timeout=60)
    kubectl("delete", "networkpolicy", "also", "-n", namespace)
    eventually(lambda: all_refused(tried("dial", addresses=[API_SERVER])), "it doesn't any more", timeout=60)


def test_nobody_reaches_a_capsule_and_who_scrapes_reaches_the_metrics_of_everybody(namespace: str, pool: str) -> None:
    capsules = f"snakepit.dev/pool={pool}"
    assert all_refused(dialled("caller", namespace, addresses(namespace, capsules, 7802)))
    scraped = of("control-plane", 7801) + of("operator", 7801) + addresses(namespace, capsules, 7801)
    assert set(dialled("caller", namespace, scraped).values()) == {"connected"}
