"""What links travel on: lanes on the cluster's own network, and the stream alone for a client that can't reach the port."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import snakepit.sync
from support.incluster import SERVER_NAME, authority, call_token, probe_pool
from support.kube import HERMETIC, SYSTEM, apply, eventually, get, install, kubectl, port_forward, wait_available
from support.scenes import play

pytestmark = pytest.mark.timeout(240)

POOL = "linked"
CAPSULES = 2

Scene = Callable[..., Any]


@pytest.fixture(scope="module")
def scene(namespace: str) -> Iterator[Scene]:
    apply(probe_pool(POOL, "actor:Actor", replicas=CAPSULES), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield lambda name, **options: play("request_scenes.py", name, pool=POOL, namespace=namespace, **options)
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def test_every_link_of_agents_and_of_sdk_clients_has_its_lane(scene: Scene) -> None:
    def each_has_its_own() -> bool:
        for links in scene("ways"):
            assert links['role="agent",way="lane"'] >= CAPSULES
            assert links['role="client",way="lane"'] >= 2
            assert not [link for link, count in links.items() if count and 'way="stream"' in link], links
        return True

    # An SDK client waits half a second for its lane, and does without: a node that stalls may cost one client its own, never the next.
    eventually(each_has_its_own, "each link has its lane")


def test_through_a_port_forward_calls_and_streams_take_the_stream_alone(namespace: str, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(call_token("default", namespace))
    known = {"ca_file": authority(tmp_path), "tls_server_name": SERVER_NAME}
    with no_way_to_lanes(), port_forward() as server, snakepit.sync.Client(server, token_file=tmp_path / "token", **known) as client:
        pool = client.pool(f"{namespace}/{POOL}")
        assert pool.call("echo", {"value": "through"}, timeout=20) == "through"
        assert pool.call("echo", {"value": bytes(1024 * 1024)}, timeout=20) == bytes(1024 * 1024)
        assert any(link for links in scene("ways") for link, count in links.items() if count and link == 'role="client",way="stream"')


def test_a_capsule_that_can_not_reach_the_lane_port_says_so_in_its_pools_status(namespace: str, scene: Scene) -> None:
    """A replica that names another host than its own stands for a NetworkPolicy that admits 7800 alone."""
    elsewhere = ["--set", "controlPlane.extraEnv[0].name=SNAKEPIT_LANE_HOST", "--set", "controlPlane.extraEnv[0].value=127.0.0.1"]
    try:
        install(SYSTEM, *elsewhere, wait=False)
        eventually(lambda: says_why(namespace), "the pool says why")
    finally:
        install(SYSTEM, "--reset-values")
        wait_available(POOL, namespace=namespace)


def says_why(namespace: str) -> bool:
    """At one moment: while replicas come and go, so does what they report."""
    conditions = get("snakepool", POOL, namespace=namespace)["status"]["conditions"]
    said = next(each for each in conditions if each["type"] == "Degraded")
    return said["reason"] == "LaneUnreachable" and "can't reach port 7802" in said["message"]


@contextlib.contextmanager
def no_way_to_lanes() -> Iterator[None]:
    """Outside of a cluster nobody can dial its pods; who runs these tests inside of the namespaces of ours could."""
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=control-plane") if HERMETIC else []
    rules = [["OUTPUT", "-d", pod["status"]["podIP"], "-p", "tcp", "--dport", "7802", "-j", "REJECT"] for pod in pods]
    with contextlib.ExitStack() as rejected:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-I", *rule], check=True)
            rejected.callback(subprocess.run, ["iptables", "-w", "-D", *rule], check=True)
        yield
