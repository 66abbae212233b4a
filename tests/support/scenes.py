"""Scenes, played in the standing pod `caller` against each control-plane replica by itself; the harm that they ask for is done out here."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from support.incluster import ALL_REPLICAS
from support.kube import SYSTEM, eventually, get, is_ready, kubectl

CONTROL_PLANE = "app.kubernetes.io/component=control-plane"
HURRY = ("--grace-period=0", "--force")

Harm = Callable[..., Any]


def replicas() -> dict[str, str]:
    """The two control-plane pods by their addresses, when both are ready and no third one is on its way out."""

    def two() -> dict[str, str]:
        pods = get("pods", namespace=SYSTEM, selector=CONTROL_PLANE)
        assert len(pods) == 2, [pod["metadata"]["name"] for pod in pods]
        assert all(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
        return {f"{pod['status']['podIP']}:7800": pod["metadata"]["name"] for pod in pods}

    return eventually(two, "two control-plane replicas")


def kill_replicas(*names: str) -> None:
    """As a crash of them would be; all of them unless told which. Returns when others have taken their places."""
    kubectl("delete", "pod", "-n", SYSTEM, *HURRY, *(names or ("-l", CONTROL_PLANE)))
    replicas()


def play(script: str, scene: str, *, pool: str, namespace: str, harm: Mapping[str, Harm] | None = None, **given: Any) -> Any:
    """What the scene found. `harm`: what is done when it asks for it."""
    config = {"pool": f"{namespace}/{pool}", "replicas": sorted(replicas()), "all": ALL_REPLICAS, **given}
    argv = ["kubectl", "exec", "-i", "caller", "-n", namespace, "--", "python3", f"/code/{script}", scene, json.dumps(config)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as playing,
    ):
        assert playing.stdin
        assert playing.stdout
        try:
            for line in playing.stdout:
                said = json.loads(line)
                if "found" in said:
                    return said["found"]
                answer = (harm or {})[said.pop("ask")](**said)
                playing.stdin.write(json.dumps(answer) + "\n")
                playing.stdin.flush()
        finally:
            playing.terminate()
        playing.wait(timeout=10)
        errors.seek(0)
        raise AssertionError(f"scene {scene} found nothing:\n{errors.read()}")
