"""Two gateways behind one address, two control planes, and a capsule of real workers: whoever of them goes, the others serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx

from snakepit import Pool
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.capsules import LocalCapsule, capsule, spec
from support.control_plane import replica
from support.eventually import eventually
from support.ports import free_port

NAME = "default/everything"


class Front:
    """`url` is that of the pool. What the parts do is in this loop, but for gateways and workers, which are processes."""

    def __init__(self, capsules: list[LocalCapsule]) -> None:
        self.store = MemoryStore()
        self.replicas: list[tuple[contextlib.AsyncExitStack, Running]] = []
        self.gateways: list[tuple[asyncio.subprocess.Process, int]] = []
        self.ports = [free_port(), free_port()]
        self.capsules = capsules
        self.url = ""
        self._turn = 0
        self._open: dict[int, set[asyncio.StreamWriter]] = {}

    @property
    def server(self) -> str:
        """Of all replicas."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    async def start_replica(self, port: int) -> None:
        stack = contextlib.AsyncExitStack()
        self.replicas.append((stack, await stack.enter_async_context(replica(self.store, listen=f"127.0.0.1:{port}"))))

    async def restart_replica(self) -> None:
        """The older one ends as a Deployment's pod does, and comes again."""
        stack, running = self.replicas.pop(0)
        await running.stop(linger=0.5, drain=5)
        await stack.aclose()
        await self.start_replica(int(running.address.rpartition(":")[2]))

    async def start_gateway(self) -> None:
        port = free_port()
        environment = {
            **os.environ,
            "SNAKEPIT_SERVER": self.server,
            "SNAKEPIT_GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "SNAKEPIT_GATEWAY_LINGER_SECONDS": "1",
        }
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "snakepit_gateway", env=environment)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await eventually(lambda: _is_ready(http), f"the gateway at {port} is ready", 40)
        self.gateways.append((process, port))

    async def restart_gateway(self) -> None:
        """Its successor is there first; the older one is told to end, and gets no new connections."""
        await self.start_gateway()
        process, _ = self.gateways.pop(0)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 40) == 0

    async def end(self) -> None:
        for process, _ in self.gateways:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 40)
        for stack, _ in self.replicas:
            await stack.aclose()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to the gateway whose turn it is."""
        self._turn += 1
        _, port = self.gateways[self._turn % len(self.gateways)]
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await http.get("/readyz")).status_code == 200
    return False


@contextlib.asynccontextmanager
async def front(adapter: str, capsules: int = 1, **worker: Any) -> AsyncIterator[Front]:
    async with contextlib.AsyncExitStack() as stack:
        made = Front([])
        stack.push_async_callback(made.end)
        for port in made.ports:
            await made.start_replica(port)
        servers = [running for _, running in made.replicas]
        for number in range(capsules):
            one = capsule(spec(adapter, worker=worker), *servers, pool=NAME, capsule=f"everything-{number}")
            made.capsules.append(await stack.enter_async_context(one))
        await asyncio.gather(made.start_gateway(), made.start_gateway())
        listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        stack.callback(listener.close)
        made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp/{NAME}"
        yield made


async def has_workers(pool: Pool, count: int) -> None:
    """Wait for so many."""

    async def ready() -> bool:
        return sum(each.state == "ready" for each in await pool.workers()) >= count

    await eventually(ready, f"{count} workers are ready", 40)
