"""Who is told to end while it starts, ends: PID 1, as a container's program is, never gets a signal that came before its handler."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snakepit.spec import encode_spec
from support.capsules import spec
from support.dev_server import wait_until
from support.pages import ROOT

NOBODY = "127.0.0.1:1"
ENTRY_POINT = re.compile(r"^FROM runtime AS (\S+)\n(?:(?!FROM ).*\n)*?ENTRYPOINT (.*)", re.MULTILINE)
COMMANDS = {image: json.loads(command) for image, command in ENTRY_POINT.findall((ROOT / "Dockerfile").read_text())}

KUBECONFIG = f"""
apiVersion: v1
kind: Config
current-context: it
clusters: [{{name: it, cluster: {{server: "http://{NOBODY}"}}}}]
users: [{{name: it, user: {{token: x}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
"""


def environment(folder: Path) -> dict[str, str]:
    """Of all of them; each takes what is its own."""
    (folder / "kubeconfig").write_text(KUBECONFIG)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEPIT_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SNAKEPIT_LISTEN": "127.0.0.1:0",
        "SNAKEPIT_METRICS_LISTEN": "off",
        "SNAKEPIT_LINGER_SECONDS": "0",
        "SNAKEPIT_GATEWAY_LISTEN": "127.0.0.1:0",
        "SNAKEPIT_SERVER": NOBODY,
        "SNAKEPIT_POOL": "default/sample",
        "SNAKEPIT_CAPSULE": "sample-0",
        "SNAKEPIT_SPEC": encode_spec(spec("support.sample:Sample")),
        "SNAKEPIT_RUN_DIR": str(folder),
        "SNAKEPIT_HEALTH_PORT": "0",
        "SNAKEPIT_HEALTH_LISTEN": "127.0.0.1:0",
        "SNAKEPIT_AGENT_IMAGE": "agent:1",
        "SNAKEPIT_CONTROL_PLANE": NOBODY,
        "POD_NAMESPACE": "default",
        "KUBECONFIG": str(folder / "kubeconfig"),
    }


def holds_back(pid: int, number: signal.Signals) -> bool:
    (blocked,) = re.findall(r"^SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(blocked, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("image", ["agent", "control-plane", "gateway", "operator"])
def test_a_program_that_is_told_to_end_while_it_starts_ends_with_0(image: str, number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(COMMANDS[image], env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as program:
        try:
            wait_until(lambda: holds_back(program.pid, number), "it can't be told to end yet")
            program.send_signal(number)
            _, said = program.communicate(timeout=30)
            assert program.returncode == 0, said
        finally:
            program.kill()
