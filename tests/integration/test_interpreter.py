"""How our programs have set Python's interpreter when they begin. Of the control plane tests/hostile looks at it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snakepit._interpreter import SWITCH_SECONDS
from snakepit.spec import encode_spec
from snakepit_agent import main as agent
from snakepit_gateway import main as gateway
from snakepit_operator import main as operator
from support.capsules import spec

LEAST_FROZEN = 30_000
"""Objects: an agent has 36,000 by then, an operator 85,000, a gateway 100,000, and one full collection takes 5, 18 and 48 ms."""

PROGRAM = """
import atexit, gc, sys, {module}
atexit.register(lambda: print("began with", gc.get_freeze_count(), sys.getswitchinterval()))
{module}.main()
"""


def of_an_operator(_: int) -> dict[str, str]:
    """It ends when it looks for its cluster."""
    return {"POD_NAMESPACE": "here", "SNAKEPIT_AGENT_IMAGE": "agent", "KUBECONFIG": str(Path(__file__).parent / "none")}


def of_a_gateway(taken: int) -> dict[str, str]:
    """It ends when it begins to listen."""
    return {"SNAKEPIT_GATEWAY_LISTEN": f"127.0.0.1:{taken}", "SNAKEPIT_SERVER": "127.0.0.1:1"}


def of_an_agent(taken: int) -> dict[str, str]:
    """It ends when it begins to listen for the kubelet."""
    settings = {"SNAKEPIT_POOL": "default/sample", "SNAKEPIT_CAPSULE": "sample-0", "SNAKEPIT_SERVER": "127.0.0.1:1"}
    return {**settings, "SNAKEPIT_HEALTH_PORT": f"{taken}", "SNAKEPIT_SPEC": encode_spec(spec("support.sample:Sample"))}


@pytest.mark.parametrize(
    ("module", "environment"),
    [(operator.__name__, of_an_operator), (gateway.__name__, of_a_gateway), (agent.__name__, of_an_agent)],
    ids=["operator", "gateway", "agent"],
)
def test_what_a_program_has_when_it_begins_is_looked_at_by_no_later_collection_and_threads_give_way_to_its_loop(
    module: str, environment: Callable[[int], dict[str, str]]
) -> None:
    with socket.create_server(("", 0)) as taken:
        given = environment(taken.getsockname()[1])
        words = [sys.executable, "-c", PROGRAM.format(module=module)]
        done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stderr
    frozen, switch = done.stdout.split("began with ")[1].split()
    assert int(frozen) > LEAST_FROZEN, done.stderr
    assert float(switch) == pytest.approx(SWITCH_SECONDS)
