"""The gRPC health service that the kubelet probes, on a port of its own.

"" says that a program is alive, "ready" that it wants work. "started" answers when it is ready for the first time, or its time for that is
over. The service decides nothing. It needs grpcio-health-checking, which the programs that serve it depend on.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio  # type: ignore[attr-defined]  # its stubs leave the module out

from snakepit._wire import serving

READY = "ready"
STARTED = "started"

PATIENCE_SECONDS = 20.0
"""Until a program has been ready for the first time, who asks for "ready" or "started" waits so long: a probe that says no is a Warning
event."""

CONNECTIONS = 256
"""With more of them, the next is refused. One that says nothing takes 13 KiB, for two seconds."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _options(connections: int) -> list[tuple[str, int]]:
    """Every pod can dial the port, and only a kubelet has reason to, once for each probe: others can make it hold a few megabytes."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", 1024),
        ("grpc.max_metadata_size", 4096),
        ("grpc.absolute_max_metadata_size", 8192),
        ("grpc.max_concurrent_streams", 4),
        ("grpc.http2.lookahead_bytes", 1024),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", 2_000),
        ("grpc.max_connection_idle_ms", 5_000),
        ("grpc.max_connection_age_ms", 30_000),
        ("grpc.max_connection_age_grace_ms", 1_000),
    ]


class _Servicer(aio.HealthServicer):  # type: ignore[misc]
    """The standard one, with patience for what is only just starting."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self.once_ready = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802  # gRPC's name
        if request.service in (READY, STARTED):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self.once_ready.wait()
        return await super().Check(request, context)


class HealthServer:
    """Serves from `start` to `stop`, and is not ready before it is told. `address` is host:port, the real one after the start.

    `variable`: the environment variable that the address comes from.
    """

    def __init__(
        self, address: str, patience: float = PATIENCE_SECONDS, connections: int = CONNECTIONS, variable: str = "SNAKEPIT_HEALTH_LISTEN"
    ) -> None:
        self.address = address
        self._variable = variable
        self._servicer = _Servicer(patience)
        self._server = serving.server(options=_options(connections))

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(f"probes can't be answered at {self.address} ({self._variable}): {error}") from error
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._servicer.set("", _SERVING)
        await self._servicer.set(STARTED, _SERVING)
        await self._servicer.set(READY, _NOT_SERVING)
        await self._server.start()

    async def set_alive(self, alive: bool) -> None:
        """Not alive: the kubelet starts the container again."""
        await self._servicer.set("", _SERVING if alive else _NOT_SERVING)

    async def set_ready(self, ready: bool) -> None:
        """Not ready: nobody new is sent here."""
        await self._servicer.set(READY, _SERVING if ready else _NOT_SERVING)
        if ready:
            self._servicer.once_ready.set()

    async def stop(self) -> None:
        """Whoever is waiting for an answer gets none."""
        await self._server.stop(grace=0)
