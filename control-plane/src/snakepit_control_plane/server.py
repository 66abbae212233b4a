"""One replica of the control plane, composed: `serve` starts it in the running loop, for `main`, for local mode and for tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from grpc_health.v1 import _async as aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from snakepit._names import new_id
from snakepit._telemetry import tracing
from snakepit._telemetry.metrics import otlp
from snakepit._telemetry.metrics_server import MetricsServer
from snakepit._wire import serving
from snakepit._wire.channels import server_options
from snakepit._wire.health import HealthServer
from snakepit._wire.targets import parse_target
from snakepit.v1 import access_pb2, call_pb2, fleet_pb2, link_pb2, pool_pb2, replica_pb2, router_pb2, session_pb2, tool_pb2
from snakepit_control_plane.authentication import make_gate
from snakepit_control_plane.authorization import make_access
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.sessions.upkeep import SessionCount
from snakepit_control_plane.servers.access import AccessServicer
from snakepit_control_plane.servers.arrivals import Arrivals
from snakepit_control_plane.servers.calls import CallServicer
from snakepit_control_plane.servers.certificate import Certificate
from snakepit_control_plane.servers.connections import Connections
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.fleet import FleetServicer
from snakepit_control_plane.servers.lanes import Lanes
from snakepit_control_plane.servers.links import LinkServicer
from snakepit_control_plane.servers.pools import PoolServicer, ToolServicer
from snakepit_control_plane.servers.replica import ReplicaServicer
from snakepit_control_plane.servers.router import RouterServicer
from snakepit_control_plane.servers.rpc import handlers
from snakepit_control_plane.servers.sessions import SessionServicer
from snakepit_control_plane.settings import Settings
from snakepit_control_plane.store.interface import Store
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.store.urls import parse_store_url
from snakepit_control_plane.telemetry import Telemetry

FAREWELL_SECONDS = 10.0
"""A slow reader may take so long for what is in the kernel's buffers when all calls have ended."""

CONNECTION_SHARE = 0.7
"""Of the lingering, with gRPC's own jitter of a tenth and a second for the Service to leave this replica out."""

START_SECONDS = 12.0
"""So long the kubelet waits for a replica to be ready for the first time, before it takes the start to be over all the same."""

PROBE_CONNECTIONS = 2048
"""That may be open. A kubelet opens three; each of others' takes 13 KiB, for two seconds."""

_MODULES = (router_pb2, session_pb2, tool_pb2, pool_pb2, access_pb2, call_pb2, replica_pb2, link_pb2, fleet_pb2, health_pb2, reflection_pb2)
SERVICES = {name: service for module in _MODULES for name, service in module.DESCRIPTOR.services_by_name.items()}

log = logging.getLogger(__name__)


class AddressInUse(OSError):
    """An address can't be listened on. The message is one sentence that names the address and its setting."""


class Running:
    """A replica that serves. `address` is host:port of gRPC, `metrics_address` of metrics, `health_address` of probes (empty: none)."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.replica = new_id()
        self.telemetry = Telemetry()
        store.measure(self.telemetry.store_answered)
        self.flow = Flow(self.telemetry, settings, store, self.replica)
        self.fleet = Fleet(self.flow, store)
        self.count = SessionCount(self.flow.pools, store, self.fleet.changes.tell)
        self._certificate = Certificate(settings.tls) if settings.tls is not None else None
        self.lanes = Lanes(settings.lane_host, self._certificate)
        has_clients = self._certificate is not None and self._certificate.has_clients
        self.door = Door(make_gate(settings.authentication), make_access(settings.authentication), settings, certificates=has_clients)
        self.flow.sessions.not_theirs = self.door.access.not_theirs
        self.links = LinkServicer(self.flow, self.fleet, store, self.replica, self.lanes, self.door)
        self.arrivals = Arrivals(settings.max_request_seconds)
        self.connections = Connections(settings.max_connections, self._ports, proven=self.door.gate.asks_agents)
        self.door.shown = self.connections.shows
        self.address = ""
        self.tls_clients_port = 0
        self.metrics_address = self.health_address = ""
        self.stopping = False
        self._health = aio.HealthServicer()
        # No connection outlives the lingering: gRPC dials another replica in time, and loses no call. A stream goes on as long as it likes.
        age = ("grpc.max_connection_age_ms", max(1, int(settings.linger_seconds * 1000 * CONNECTION_SHARE)))
        most = ("grpc.max_allowed_incoming_connections", settings.max_connections)
        self._grpc = serving.server(options=[*server_options(), most, *([age] if settings.linger_seconds else [])])
        self.telemetry.watch(self.flow.loop, self.flow.pools, lambda: not store.problem)
        self._metrics = MetricsServer(self.telemetry.registry.application())
        self._push = otlp.begin(self.telemetry.registry, "snakepit-control-plane")
        self._probes = HealthServer(settings.health, START_SECONDS, PROBE_CONNECTIONS) if settings.health else None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, pools: Sequence[link_pb2.PoolSettings] = ()) -> None:
        """`pools`: all there are, where somebody can say so before anybody asks. Raises AddressInUse."""
        self._register()
        self.address = self._bind()
        await self._start_lanes()
        await self.store.start()
        await self.fleet.roster.load()
        if pools:
            self.fleet.sync(pools, complete=True, drain=())
            await self.fleet.roster.load()  # Who is alive is asked again, of these pools.
        await self._say_health()  # Or it would be grpcio's own beginning: serving, and nothing known of any service.
        await self._grpc.start()
        try:
            await self._start_probes_and_metrics()
        except OSError:
            await self.stop(linger=0.0, drain=0.0)
            raise
        upkeep = (self.flow.sessions.upkeep.run(), self.flow.idempotency.upkeep.run())
        for work in (self.fleet.run(), *upkeep, self.count.run(), self.arrivals.run(), self.connections.run(), self._tell_health()):
            self._tasks.append(asyncio.create_task(self._forever(work)))
        host, port = parse_target(self.settings.listen)[0], parse_target(self.address)[1]
        log.info("replica %s serves on %s:%s", self.replica, host, port)

    def _register(self) -> None:
        servicers = {
            "RouterService": RouterServicer(self.flow, self.door),
            "SessionService": SessionServicer(self.flow, self.store, self.count, self.door, self.settings.max_sessions_per_namespace),
            "ToolService": ToolServicer(self.flow, self.flow.nested.catalogue, self.door),
            "PoolService": PoolServicer(self.flow, self.fleet, self.door),
            "AccessService": AccessServicer(self.flow.pools, self.door),
            "CallService": CallServicer(self.flow, self.door, self.replica),
            "ReplicaService": ReplicaServicer(
                self.fleet, self.door, self.replica, self.not_ready, self.settings.store_note, self.telemetry.store_pace
            ),
            "LinkService": self.links,
            "FleetService": FleetServicer(self.fleet, self.replica, self.door.gate, self.settings.store_note, self.connections.shows),
            "Health": self._health,
            "ServerReflection": ReflectionServicer([each.full_name for each in SERVICES.values()]),
        }
        served = [handlers(SERVICES[name], servicer, self.arrivals, as_bytes={"ExecuteStream"}) for name, servicer in servicers.items()]
        self._grpc.add_generic_rpc_handlers(served)

    def _bind(self) -> str:
        host, port = parse_target(self.settings.listen)
        with _listening(self.settings.listen, "SNAKEPIT_LISTEN"):
            if self._certificate is None:
                bound = self._grpc.add_insecure_port(self.settings.listen)
            else:
                bound = self._grpc.add_secure_port(self.settings.listen, self._certificate.credentials())
        if self._certificate is not None and self._certificate.has_clients:
            with _listening(self.settings.tls_clients, "SNAKEPIT_TLS_CLIENT_LISTEN"):
                credentials = self._certificate.credentials(of_clients=True)
                self.tls_clients_port = self._grpc.add_secure_port(self.settings.tls_clients, credentials)
        return f"{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{bound or port}"

    def _ports(self) -> tuple[int, ...]:
        """Of gRPC."""
        return parse_target(self.address)[1], self.tls_clients_port

    async def _start_lanes(self) -> None:
        listen = self.settings.lane or f"{parse_target(self.settings.listen)[0]}:0"
        with _listening(listen, "SNAKEPIT_LANE_LISTEN"):
            await self.lanes.start(listen)

    async def _start_probes_and_metrics(self) -> None:
        if self.settings.metrics is not None:
            with _listening(self.settings.metrics, "SNAKEPIT_METRICS_LISTEN"):
                self.metrics_address = f"127.0.0.1:{self._metrics.start(*parse_target(self.settings.metrics))}"
        if self._probes is not None:
            with _listening(self._probes.address, "SNAKEPIT_HEALTH_LISTEN"):
                await self._probes.start()
            self.health_address = self._probes.address

    # ---- while it serves

    def not_ready(self) -> str:
        """Why new calls should go to another replica; empty when they may come. The store is not asked: many calls don't need it."""
        if self.stopping:
            return "stopping"
        return "" if self.flow.pools.returned() else "waiting for the agents to link"

    async def _tell_health(self) -> None:
        while True:
            ready = await self._say_health()
            if self._probes is not None:
                await self._probes.set_ready(ready)
            await asyncio.sleep(0.25)

    async def _say_health(self) -> bool:
        ready = not self.not_ready()
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *(each.full_name for each in SERVICES.values())):
            await self._health.set(service, serving)
        return ready

    async def _forever(self, work: Coroutine[Any, Any, None]) -> None:
        """A loop of ours that ends is a defect: say so, and stop serving rather than serve half."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a background task failed: this replica stops")
            await self.abort()

    async def wait(self) -> None:
        """Wait until the server has stopped, by `stop` or by a defect."""
        await self._grpc.wait_for_termination()

    # ---- the end

    async def abort(self) -> None:
        """Break every connection at once and tell nobody, as when the process is killed. What peers sent may have been done."""
        await self._grpc.stop(0)

    async def stop(self, *, linger: float | None = None, drain: float | None = None) -> None:
        """Not ready, wait for the world to notice, ask peers to go away, let running calls finish, stop. Bounded by both times."""
        drain = self.settings.drain_seconds if drain is None else drain
        self.stopping = True
        await self._health.enter_graceful_shutdown()
        if self._probes is not None:
            await self._probes.set_ready(False)
        self.links.go_away()
        # Plain clients find another replica when their connections are old enough, and whoever has none may be led here for as long as some
        # node has not heard that it goes. Nobody tells when all have: so all of the time, though nobody is left.
        await asyncio.sleep(self.settings.linger_seconds if linger is None else linger)
        end = asyncio.get_running_loop().time() + drain
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self.flow.calls.idle()
        # At once, or a call could come in between and would be lost.
        self.links.close("this replica stops")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._grpc.stop(1.0)
        await self.links.bulk.finish(max(0.0, min(FAREWELL_SECONDS, end - asyncio.get_running_loop().time())))
        await self.lanes.stop()
        await asyncio.gather(self.fleet.stop(), self.flow.stop(), self.door.access.stop())
        await asyncio.gather(self._metrics.stop(), self._push.stop())
        if self._probes is not None:
            await self._probes.stop()
        await self.store.close()


async def serve(settings: Settings, store: Store | None = None, pools: Sequence[link_pb2.PoolSettings] = ()) -> Running:
    """Start a replica; it is serving when this returns. Raises AddressInUse.

    `pools`: all there are. Without them whoever asks first hears that the operator is waited for, as on a cluster, where readiness says it.
    """
    tracing.configure("snakepit-control-plane")
    running = Running(settings, store or make_store(settings.store, settings.max_state_bytes_per_caller))
    await running.start(pools)
    return running


def make_store(url: str, owner_bytes: int = Settings.max_state_bytes_per_caller) -> Store:
    """Raises InvalidStoreUrl."""
    where = parse_store_url(url)
    if where.kind == "memory":
        return MemoryStore(owner_bytes=owner_bytes)
    # redis-py loads the OpenTelemetry SDK wherever it is installed: only those who use Redis pay for that.
    from snakepit_control_plane.store.redis import RedisStore

    return RedisStore(where, owner_bytes)


@contextlib.contextmanager
def _listening(address: str, setting: str) -> Iterator[None]:
    """Raises AddressInUse for what can't be listened on."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # grpcio's is a RuntimeError.
        port, why = parse_target(address)[1], "another program has it probably"
        raise AddressInUse(f"port {port} of {address} can't be listened on, {why}: stop it, or set {setting} to another address") from error
