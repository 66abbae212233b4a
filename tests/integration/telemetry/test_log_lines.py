"""Every program's log has the form that docs/logs.md says, from its start to its end, and when it can't start."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from snakepit import PoolNotFound, PoolNotReady, ServerUnavailable, ToolError, WorkerLost, sync
from snakepit.spec import SnakePoolSpec, encode_spec
from support.dev_server import Program, wait_until
from support.log_lines import lines
from support.ports import free_port

POOL, CAPSULE = "default/talking", "talking-0"
SPEC = {"worker": {"adapter": "support.talking:Talking"}, "drain": {"timeoutSeconds": 5}}


@contextlib.contextmanager
def started(module: str, **environment: str) -> Iterator[Program]:
    """Nothing is left of it at the end."""
    program = Program(sys.executable, "-c", f"from {module} import main; main()", **environment)
    try:
        yield program
    finally:
        program.end()


@pytest.mark.parametrize(
    ("component", "module", "wrong", "variable"),
    [
        ("control-plane", "snakepit_control_plane.main", {"SNAKEPIT_LISTEN": "nowhere"}, "SNAKEPIT_LISTEN"),
        ("gateway", "snakepit_gateway.main", {"SNAKEPIT_GATEWAY_LISTEN": "nowhere"}, "SNAKEPIT_GATEWAY_LISTEN"),
        ("agent", "snakepit_agent.main", {}, "SNAKEPIT_CAPSULE"),
        ("operator", "snakepit_operator.main", {}, "SNAKEPIT_AGENT_IMAGE"),
    ],
)
def test_what_keeps_a_program_from_starting_is_a_line(component: str, module: str, wrong: dict[str, str], variable: str) -> None:
    with started(module, **wrong) as program:
        assert program.wait() == 1
    said = lines(program.lines)
    assert {(each["component"], each["level"]) for each in said} == {(component, "critical")}
    assert any(each["message"].startswith(variable) for each in said), said


UNCAUGHT = """
import threading, warnings
from snakepit._telemetry.logs import configure_logging
configure_logging("operator")
warnings.warn("beware")
def fail(): raise KeyError("in a thread")
thread = threading.Thread(target=fail, name="helper")
thread.start()
thread.join()
raise ValueError("two\\nlines")
"""


def test_what_nobody_catches_and_what_python_warns_of_is_a_line_too() -> None:
    told = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, timeout=30, check=False)
    assert told.returncode == 1
    warned, in_a_thread, last = lines(told.stderr.splitlines())
    assert (warned["level"], "beware" in warned["message"]) == ("warning", True)
    assert (in_a_thread["level"], in_a_thread["message"]) == ("error", "the thread helper ends: KeyError: 'in a thread'")
    assert (last["level"], last["message"]) == ("critical", "the program ends: ValueError: two\nlines")
    assert last["exception"].startswith("Traceback")


@contextlib.contextmanager
def programs(folder: Path) -> Iterator[tuple[Any, ...]]:
    """A control plane, a gateway, and a capsule's agent and keeper: each its own process."""
    port, http = free_port(), free_port()
    server, pool = f"127.0.0.1:{port}", {"SNAKEPIT_POOL": POOL, "SNAKEPIT_POOL_UID": "1", "SNAKEPIT_POOL_GENERATION": "1"}
    spec = encode_spec(msgspec.convert(SPEC, SnakePoolSpec))
    drains = {"SNAKEPIT_LINGER_SECONDS": "0", "SNAKEPIT_DRAIN_SECONDS": "1"}
    of_programs: list[tuple[str, dict[str, str]]] = [
        ("snakepit_control_plane.main", {"SNAKEPIT_LISTEN": server, "SNAKEPIT_METRICS_LISTEN": "off", **drains}),
        ("snakepit_gateway.main", {"SNAKEPIT_SERVER": server, "SNAKEPIT_GATEWAY_LISTEN": f"127.0.0.1:{http}"}),
        ("snakepit_agent.main", {"SNAKEPIT_SERVER": server, "SNAKEPIT_CAPSULE": CAPSULE, "SNAKEPIT_SPEC": spec, **pool}),
        ("snakepit_worker.keeper", {}),
    ]
    common = {"SNAKEPIT_RUN_DIR": str(folder), "SNAKEPIT_HEALTH_PORT": "0", "SNAKEPIT_LOG_LEVEL": "debug"}
    with contextlib.ExitStack() as stack:
        all_of_them = [stack.enter_context(started(module, **common, **own)) for module, own in of_programs]
        yield *all_of_them, server


def test_the_logs_of_all_programs_have_one_form_and_name_the_call_that_they_are_about(tmp_path: Path) -> None:
    with programs(tmp_path) as (plane, gateway, agent, keeper, server):
        for each in (plane, gateway, agent, keeper):
            each.says('"component":')
        with sync.Client(server) as client:
            pool = client.pool(POOL)
            wait_until(lambda: _is_there(pool), "the pool is there")
            pool.call("say", {"text": "hello"})
            with pytest.raises(ToolError):
                pool.call("raise_deeply", {"text": "none left"})
            with pytest.raises(WorkerLost) as lost:
                pool.call("say_and_die", {"text": "last words", "how": "kill"})
        agent.says("WORKER_LOST")
        for each in (keeper, agent, gateway, plane):
            each.send(signal.SIGTERM)
            each.wait()
        told = {each: lines(each.lines) for each in (plane, gateway, agent, keeper)}
    assert [{line["component"] for line in told[each]} for each in (plane, gateway, agent)] == [{"control-plane"}, {"gateway"}, {"agent"}]
    assert {"keeper", "zygote", "worker"} == {line["component"] for line in told[keeper]}
    assert {(line["pool"], line["capsule"]) for line in told[agent]} == {(POOL, CAPSULE)}
    (raised,) = _with("raised KeyError: 'none left'", told[keeper])
    assert raised["exception"].endswith("KeyError: 'none left'\n")
    (died,) = _with(f"WORKER_LOST: {lost.value.message}", told[agent])
    (last,) = _with("last words", told[keeper])
    assert (died["call"], died["tool"], died["worker"]) == (last["call"], last["tool"], last["worker"])


def _is_there(pool: sync.Pool) -> bool:
    with contextlib.suppress(ServerUnavailable, PoolNotReady, PoolNotFound):
        return any(each.state == "ready" for each in pool.workers())
    return False


def _with(message: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each["message"] == message]
