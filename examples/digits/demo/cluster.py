"""The demo's place on a Kubernetes: the pool is applied already; workers are killed through kubectl."""

from __future__ import annotations

import asyncio

import snakepit


class Cluster:
    """`server`: an address at which the control plane answers from here, e.g. of a `kubectl port-forward`."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.gateway = ""

    async def kill_worker(self, worker: snakepit.WorkerInfo) -> None:
        capsule = worker.id.rpartition("/")[0]
        command = ("kubectl", "exec", capsule, "-n", "default", "-c", "worker", "--", "sh", "-c", f"kill -9 {worker.pid}")
        process = await asyncio.create_subprocess_exec(*command)
        if await process.wait():
            raise RuntimeError(f"{' '.join(command)} failed")
