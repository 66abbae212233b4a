"""A cluster without machines: a real API server, scheduler and operator, kwok's nodes, and two control-plane replicas (see `plane`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.admin import equipped
from tests.support.api_server import ADMIN, OPERATOR, SYSTEM, ApiServer
from tests.support.go_tools import go_tool
from tests.support.ports import free_port

REPLICAS = 2
END_SECONDS = 20.0
AUDIT = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{{level: Metadata, users: ["system:serviceaccount:{SYSTEM}:snakepit-operator"]}}]
"""
STAGES = Path(__file__).with_name("stages.yaml")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cluster:
    """`processes` by name, each with its log in `folder`; those of the control plane are replica-0 and replica-1."""

    server: ApiServer
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str | Path], **variables: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SNAKEPIT_")}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**environment, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def cpu_seconds(self, name: str) -> float:
        """User and system time of a process so far."""
        fields = (Path("/proc") / str(self.processes[name].pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def mebibytes(self, name: str, what: str = "VmRSS") -> float:
        """Resident memory; VmHWM: the most that there ever was."""
        status = (Path("/proc") / str(self.processes[name].pid) / "status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024

    def requests(self) -> list[str]:
        """What the operator has asked the API server so far: verb and kind."""
        found = []
        for line in (self.folder / "audit.log").read_text().splitlines():
            said = json.loads(line)
            if said["stage"] == "ResponseComplete" and said["verb"] != "watch":
                found.append(f"{said['verb']} {said.get('objectRef', {}).get('resource', '')}")
        return found

    def alive(self) -> None:
        """Raises AssertionError for a process that has ended."""
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} has ended: {(self.folder / f'{name}.log').read_text()[-2000:]}"

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(END_SECONDS)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """All of it but nodes and pools, with so many workers in each capsule; ended at the end."""
    kwok = go_tool("kwok")
    with equipped(folder, audit=AUDIT) as server:
        made = Cluster(server, folder)
        try:
            _start(made, kwok, workers)
            yield made
        finally:
            made.close()


def _start(made: Cluster, kwok: Path, workers: int) -> None:
    admin = made.server.kubeconfig(ADMIN)
    leases = ["--leader-elect=false", "--secure-port=0"]
    made.start("scheduler", [made.server.programs / "kube-scheduler", f"--kubeconfig={admin}", *leases])
    made.start("kwok", [kwok, f"--kubeconfig={admin}", f"--config={STAGES}", "--manage-all-nodes=true", "--v=ERROR"])
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(REPLICAS)]
    for number, address in enumerate(addresses):
        command: list[str | Path] = [sys.executable, "-m", "tests.scale.plane", address, str(workers)]
        made.start(f"replica-{number}", command, API_SERVER=made.server.url, CA=str(made.server.certificate), TOKEN=ADMIN)
    made.start(
        "operator",
        [Path(sys.executable).with_name("snakepit-operator")],
        KUBECONFIG=str(made.server.kubeconfig(OPERATOR)),
        POD_NAMESPACE=SYSTEM,
        POD_NAME="operator",
        SNAKEPIT_AGENT_IMAGE="agent:1",
        SNAKEPIT_HEALTH_LISTEN=f"127.0.0.1:{free_port()}",
        SNAKEPIT_CONTROL_PLANE=",".join(addresses),
    )
