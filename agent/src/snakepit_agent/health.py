"""The agent's gRPC health service for the kubelet: "" says that the agent is alive, "ready" that a worker is warm. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio  # type: ignore[attr-defined]  # its stubs leave the module out

READY = "ready"

PATIENCE_SECONDS = 20.0
"""Until a worker has been warm for the first time, who asks for "ready" waits so long: a probe that says no is a Warning event."""

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1024),
    ("grpc.max_metadata_size", 4096),
    ("grpc.absolute_max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 4),
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_allowed_incoming_connections", 256),
    ("grpc.server_handshake_timeout_ms", 2_000),
    ("grpc.max_connection_idle_ms", 5_000),
    ("grpc.max_connection_age_ms", 30_000),
    ("grpc.max_connection_age_grace_ms", 1_000),
]
"""Every pod can dial this port, and only a kubelet has reason to, once for each probe: what others can make it hold is a few megabytes."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Servicer(aio.HealthServicer):  # type: ignore[misc]
    """The standard one; with patience for what is only just starting."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self.once_ready = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802  # gRPC's name
        if request.service == READY:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self.once_ready.wait()
        return await super().Check(request, context)


class HealthServer:
    """Serves from `start` to `stop`; `port` is the real one after the start."""

    def __init__(self, port: int, host: str = "[::]", patience: float = PATIENCE_SECONDS) -> None:
        self.port = port
        self._host = host
        self._servicer = _Servicer(patience)
        self._server = grpc.aio.server(options=OPTIONS)
        self._ready = False

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self.port}")
        except RuntimeError as error:
            raise OSError(f"the health port {self.port} can't be used (SNAKEPIT_HEALTH_PORT): {error}") from error
        await self._servicer.set("", _SERVING)
        await self._servicer.set(READY, _NOT_SERVING)
        await self._server.start()

    async def set_ready(self, ready: bool) -> None:
        if ready != self._ready:
            self._ready = ready
            await self._servicer.set(READY, _SERVING if ready else _NOT_SERVING)
        if ready:
            self._servicer.once_ready.set()

    async def stop(self) -> None:
        await self._server.stop(grace=0)
