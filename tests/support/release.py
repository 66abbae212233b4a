"""A release without nodes: operator, control plane, gateway and capsules as programs on loopback, at a real API server and a real Redis.

Scheduler and kubelet are played by `Kubelet`, which runs each pod's agent and keeper here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakepit_operator.pods import POOL_LABEL

from .admin import Admin, Refused
from .api_server import OPERATOR, SYSTEM, ApiServer
from .dev_server import Program
from .ports import free_port
from .redis_server import RedisServer, redis_server

LOOK_SECONDS = 0.05
END_SECONDS = 60.0
"""Of an agent: one that a test has stopped ends when it goes on."""


class Capsule:
    """The agent and the keeper of a pod, with the environment that the operator has given the agent."""

    def __init__(self, pod: dict[str, Any], folder: Path) -> None:
        agent = next(each for each in pod["spec"]["initContainers"] if each["name"] == "snakepit-agent")
        given = {each["name"]: each.get("value", pod["metadata"]["uid"]) for each in agent["env"]}
        run_dir = folder / pod["metadata"]["name"]
        run_dir.mkdir()
        self.name, self.pool, self.metrics = pod["metadata"]["name"], given["SNAKEPIT_POOL"], free_port()
        own = {"SNAKEPIT_RUN_DIR": str(run_dir), "SNAKEPIT_HEALTH_PORT": "0", "SNAKEPIT_METRICS_PORT": str(self.metrics)}
        self.agent = Program(sys.executable, "-m", "snakepit_agent", **{**given, **own})
        self.keeper = Program(sys.executable, "-m", "snakepit_worker.keeper", SNAKEPIT_RUN_DIR=str(run_dir))

    def end(self) -> None:
        for each in (self.agent, self.keeper):
            each.end()


class Kubelet:
    """Of every node. `capsules` are those that run now, by the names of their pods; `targets` is a file for Prometheus with all of them.

    `without_room`: pools whose new pods find no node.
    """

    def __init__(self, server: ApiServer, namespace: str, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look_forever(server, namespace)), name="kubelet")
        self.targets = folder / "agents.json"
        self.targets.write_text("[]")
        self.capsules: dict[str, Capsule] = {}
        self.without_room: set[str] = set()

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Every capsule is gone at once."""
        self._ended.set()
        self._thread.join(END_SECONDS)
        for capsule in self.capsules.values():
            capsule.end()

    async def _look_forever(self, server: ApiServer, namespace: str) -> None:
        admin = Admin(server, namespace)
        try:
            while not self._ended.is_set():
                for pod in await admin.every("pods"):
                    await self._see(admin, pod)
                self._tell()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await admin.close()

    async def _see(self, admin: Admin, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        try:
            if "deletionTimestamp" in pod["metadata"]:
                await self._end(name)
                await admin.delete("pods", name, gracePeriodSeconds=0)
            elif name not in self.capsules and pod["metadata"]["labels"][POOL_LABEL] not in self.without_room:
                self.capsules[name] = Capsule(pod, self._folder)
                await admin.run(name)
        except Refused as error:  # Somebody may have deleted it meanwhile.
            if error.status not in (404, 409):
                raise

    async def _end(self, name: str) -> None:
        """As a kubelet: the agent is asked to drain first, and killed where it takes too long."""
        if (capsule := self.capsules.pop(name, None)) is not None:
            capsule.agent.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(capsule.agent.wait, END_SECONDS)
            capsule.end()

    def _tell(self) -> None:
        found = [{"targets": [f"127.0.0.1:{each.metrics}"], "labels": {"capsule": each.name}} for each in self.capsules.values()]
        if (text := json.dumps(found)) != self.targets.read_text():
            new = self.targets.with_name("new")
            new.write_text(text)
            new.rename(self.targets)


class Release:
    """Pools of the namespace are served at `address`, by HTTP and MCP at `gateway_address`. `metrics`: where programs are scraped."""

    def __init__(self, server: ApiServer, namespace: str, redis: RedisServer, folder: Path, traces: str) -> None:
        self._traces = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces, "OTEL_BSP_SCHEDULE_DELAY": "100"} if traces else {}
        self.api, self.namespace, self.redis, self.folder = server, namespace, redis, folder
        self.address, self.gateway_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.metrics = {name: f"127.0.0.1:{free_port()}" for name in ("control-plane", "operator", "gateway")}
        self.control_plane, self.operator, self.gateway = self.start_control_plane(), self.start_operator(), self.start_gateway()

    def start_control_plane(self) -> Program:
        ports = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        self.control_plane = Program(
            sys.executable,
            "-m",
            "snakepit_control_plane.main",
            SNAKEPIT_LISTEN=self.address,
            SNAKEPIT_METRICS_LISTEN=self.metrics["control-plane"],
            SNAKEPIT_LANE_LISTEN=ports[0],
            SNAKEPIT_HEALTH_LISTEN=ports[1],
            SNAKEPIT_STORE=self.redis.url,
            SNAKEPIT_AUTH="off",
            SNAKEPIT_LINGER_SECONDS="0",
            **self._traces,
        )
        return self.control_plane

    def start_operator(self) -> Program:
        self.operator = Program(
            sys.executable,
            "-c",
            "from snakepit_operator.main import main; main()",
            KUBECONFIG=str(self.api.kubeconfig(OPERATOR)),
            POD_NAMESPACE=SYSTEM,
            POD_NAME="operator",
            WATCH_NAMESPACES=self.namespace,
            SNAKEPIT_AGENT_IMAGE="agent:1",
            SNAKEPIT_CONTROL_PLANE=self.address,
            SNAKEPIT_HEALTH_LISTEN=f"127.0.0.1:{free_port()}",
            SNAKEPIT_METRICS_LISTEN=self.metrics["operator"],
        )
        return self.operator

    def start_gateway(self) -> Program:
        self.gateway = Program(
            sys.executable,
            "-m",
            "snakepit_gateway.main",
            SNAKEPIT_SERVER=self.address,
            SNAKEPIT_GATEWAY_LISTEN=self.gateway_address,
            SNAKEPIT_GATEWAY_METRICS_LISTEN=self.metrics["gateway"],
        )
        return self.gateway

    def end(self) -> None:
        for each in (self.gateway, self.operator, self.control_plane):
            each.end()


@contextlib.contextmanager
def release(server: ApiServer, namespace: str, traces: str = "") -> Iterator[tuple[Release, Kubelet]]:
    """It serves the pools of that namespace, which is there; nothing of it is left afterwards. `traces`: whither replicas send spans."""
    with tempfile.TemporaryDirectory(prefix="snakepit-release-") as folder, redis_server() as redis:
        made, kubelet = Release(server, namespace, redis, Path(folder), traces), Kubelet(server, namespace, Path(folder))
        kubelet.start()
        try:
            yield made, kubelet
        finally:
            kubelet.end()
            made.end()
