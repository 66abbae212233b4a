"""How our programs have set Python's interpreter and their process when they begin. Of the control plane's, tests/hostile looks at most."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snakepit._interpreter import SWITCH_SECONDS
from snakepit.spec import encode_spec
from snakepit_agent import main as agent
from snakepit_control_plane import main as control_plane
from snakepit_gateway import main as gateway
from snakepit_operator import main as operator
from support.capsules import spec

LEAST_FROZEN = 30_000
"""Objects: an agent has 36,000 by then, an operator 85,000, a gateway 100,000, and one full collection takes 5, 18 and 48 ms."""

FEW = 512
"""Descriptors: containers often begin with 1,024."""

PROGRAM = """
import atexit, gc, resource, sys, {module}
resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
atexit.register(lambda: print("began with", gc.get_freeze_count(), sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
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


def of_a_control_plane(taken: int) -> dict[str, str]:
    """It ends when it begins to listen."""
    return {"SNAKEPIT_LISTEN": f"127.0.0.1:{taken}"}


@pytest.mark.parametrize(
    ("module", "environment"),
    [(operator.__name__, of_an_operator), (gateway.__name__, of_a_gateway), (agent.__name__, of_an_agent)],
    ids=["operator", "gateway", "agent"],
)
def test_what_a_program_has_when_it_begins_is_looked_at_by_no_later_collection_and_threads_give_way_to_its_loop(
    module: str, environment: Callable[[int], dict[str, str]]
) -> None:
    frozen, switch, _ = began(module, environment)
    assert int(frozen) > LEAST_FROZEN
    assert float(switch) == pytest.approx(SWITCH_SECONDS)


@pytest.mark.parametrize(
    ("module", "environment"),
    [(control_plane.__name__, of_a_control_plane), (gateway.__name__, of_a_gateway)],
    ids=["control plane", "gateway"],
)
def test_a_program_that_strangers_connect_to_has_all_descriptors_that_it_may_have(
    module: str, environment: Callable[[int], dict[str, str]]
) -> None:
    _, _, most = began(module, environment)
    assert int(most) == resource.getrlimit(resource.RLIMIT_NOFILE)[1] > FEW


def began(module: str, environment: Callable[[int], dict[str, str]]) -> list[str]:
    """What the program says at its end."""
    with socket.create_server(("", 0)) as taken:
        given = environment(taken.getsockname()[1])
        words = [sys.executable, "-c", PROGRAM.format(module=module, few=FEW)]
        done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stderr
    assert "began with" in done.stdout, done.stderr
    return done.stdout.split("began with ")[1].split()
