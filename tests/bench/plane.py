"""The whole way of a call as processes of their own: control-plane replicas, agents, keepers and their workers.

They run as they do in a cluster, without the cluster, so that each program's CPU time can be told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

import snakepit
from snakepit.spec import SnakePoolSpec, encode_spec
from tests.bench.cpu import Meter, family
from tests.support.ports import free_port

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build"
POOL = "default/echo"
READY_SECONDS = 60.0
ADAPTER = "echo:Echo"


class Plane:
    """What runs. `server` is the address for a client: all replicas."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder
        self._environment = environment
        self._output = (BUILD / "bench-plane.log").open("ab")
        self.replicas: dict[str, subprocess.Popen[bytes]] = {}
        self.gateways: dict[str, subprocess.Popen[bytes]] = {}
        self.agents: list[subprocess.Popen[bytes]] = []
        self.keepers: list[subprocess.Popen[bytes]] = []
        self.client: snakepit.Client

    @property
    def server(self) -> str:
        return ",".join(self.replicas)

    def meter(self) -> Meter:
        """CPU time of each program; the client is this process. Workers that come later aren't seen."""
        return Meter(
            {
                "client": [os.getpid()],
                **({"gateway": [each.pid for each in self.gateways.values()]} if self.gateways else {}),
                "control plane": [each.pid for each in self.replicas.values()],
                "agent": [each.pid for each in self.agents],
                "workers": [pid for each in self.keepers for pid in family(each.pid)],
            }
        )

    def start_replica(self, store: str = "memory:", **environment: str) -> str:
        address = f"127.0.0.1:{free_port()}"
        own = {"SNAKEPIT_LISTEN": address, "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_STORE": store}
        own |= {"SNAKEPIT_LINGER_SECONDS": "0", "SNAKEPIT_DRAIN_SECONDS": "0", **environment}
        self.replicas[address] = self._start("snakepit_control_plane.main", own)
        return address

    def start_gateway(self) -> str:
        address = f"127.0.0.1:{free_port()}"
        self.gateways[address] = self._start("snakepit_gateway.main", {"SNAKEPIT_GATEWAY_LISTEN": address, "SNAKEPIT_SERVER": self.server})
        return address

    def start_capsule(self, spec: SnakePoolSpec, pool: str = POOL, *, path: Path = HERE) -> None:
        """`path`: where its adapter is imported from, before what this process has."""
        name = f"bench-{len(self.agents)}"
        run_dir = self._folder / name
        run_dir.mkdir()
        agent = {
            "SNAKEPIT_POOL": pool,
            "SNAKEPIT_POOL_UID": "bench",
            "SNAKEPIT_POOL_GENERATION": "1",
            "SNAKEPIT_SPEC": encode_spec(spec),
            "SNAKEPIT_CAPSULE": name,
            "SNAKEPIT_SERVER": self.server,
            "SNAKEPIT_RUN_DIR": str(run_dir),
            "SNAKEPIT_HEALTH_PORT": "0",
        }
        self.agents.append(self._start("snakepit_agent.main", agent))
        path = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.keepers.append(self._start("snakepit_worker.keeper", {"PYTHONPATH": path, "SNAKEPIT_RUN_DIR": str(run_dir)}))

    def _start(self, module: str, own: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """On a leash: whatever becomes of the benchmark, none of them stays."""
        quiet = {"SNAKEPIT_LOG_LEVEL": "warning", "SNAKEPIT_LOG_FORMAT": "text"}
        argv = [sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), module]
        return subprocess.Popen(
            argv, env={**quiet, **os.environ, **self._environment, **own}, stdout=self._output, stderr=self._output, start_new_session=True
        )

    async def end(self) -> None:
        """At once: nothing that runs matters any more. Workers go with their keeper, which goes on TERM with its agent gone."""
        for process in (*self.gateways.values(), *self.agents, *self.replicas.values()):
            process.kill()
        for process in self.keepers:
            process.terminate()
        for process in (*self.gateways.values(), *self.agents, *self.replicas.values(), *self.keepers):
            await asyncio.to_thread(process.wait, 30)
        self._output.close()


@asynccontextmanager
async def plane(
    *,
    processes: int = 4,
    capsules: int = 1,
    replicas: int = 1,
    store: str = "memory:",
    environment: Mapping[str, str] = MappingProxyType({}),
    token_file: str | None = None,
    **sections: Any,
) -> AsyncIterator[tuple[Plane, snakepit.Pool]]:
    """Replicas and capsules of `processes` one-slot workers each, ready, and a client's handle on their pool. `sections` of the spec.

    `environment`: of all programs; `token_file`: the client's.
    """
    spec = msgspec.convert({"worker": {"adapter": ADAPTER, "processes": processes}, **sections}, SnakePoolSpec)
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    running = Plane(folder, environment)
    try:
        for _ in range(replicas):
            running.start_replica(store)
        for _ in range(capsules):
            running.start_capsule(spec)
        ca_file = environment.get("SNAKEPIT_CA_FILE")
        async with snakepit.Client(running.server, token_file=token_file, connect_timeout=READY_SECONDS, ca_file=ca_file) as client:
            running.client = client
            pool = client.pool(POOL)
            await until_warm(pool, processes * capsules, asks=4 * replicas)
            yield running, pool
    finally:
        await running.end()
        shutil.rmtree(folder, ignore_errors=True)


async def until_up(client: snakepit.Client) -> None:
    """A replica answers."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            with contextlib.suppress(snakepit.ServerUnavailable):  # it is being started
                await client.pools()
                return


async def until_warm(pool: snakepit.Pool, workers: int, *, asks: int = 1) -> None:
    """Every replica (they are asked in turn) knows so many ready workers."""
    good = 0
    async with asyncio.timeout(READY_SECONDS):
        while good < asks:
            with contextlib.suppress(snakepit.SnakepitError):  # not there yet; the time-out above is the bound
                good = good + 1 if sum(w.state == "ready" for w in await pool.workers()) >= workers else 0
            await asyncio.sleep(0.05 if good else 0.2)
