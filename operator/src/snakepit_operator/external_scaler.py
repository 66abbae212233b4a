"""The server of KEDA's external scaler. It needs no leader: every replica of the operator answers by the statuses of pools.

What is asked and what is answered is in `keda`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import msgspec

from snakepit._wire import serving
from snakepit.spec.fields import SnakePool
from snakepit_operator.externalscaler import externalscaler_pb2 as pb
from snakepit_operator.externalscaler import externalscaler_pb2_grpc
from snakepit_operator.keda import RECOMMENDED, Question, Refusal, is_active, known, number, question
from snakepit_operator.kube import KubeError
from snakepit_operator.pools import KEEP_SECONDS, Pools

STREAMS = 1000
"""So many triggers of type external-push may listen at a time."""
REQUESTS = 100
"""So many others may be asked at a time."""
AGAIN_SECONDS = 2.0
"""That a pool at zero is in use is said again after so long: KEDA passes over what it is told before it has made its autoscaler."""
END_SECONDS = 1.0

Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)


def _options() -> list[tuple[str, int]]:
    """Every pod can dial the port, and only KEDA has reason to: by one connection for all of its triggers."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", 64 * 1024),
        ("grpc.max_allowed_incoming_connections", 64),
        ("grpc.server_handshake_timeout_ms", 2_000),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.keepalive_time_ms", 60_000),
    ]


class ExternalScaler(externalscaler_pb2_grpc.ExternalScalerServicer):
    """Serves at `address`, host:port; the real one is there after `start`."""

    def __init__(self, pools: Pools, address: str) -> None:
        self.address = address
        self._pools = pools
        self._streams: set[asyncio.Event] = set()
        self._ending = False
        self._server = serving.server(options=_options(), maximum_concurrent_rpcs=STREAMS + REQUESTS)

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the port is taken."""
        await self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(self, self._server)
        try:
            # KEDA can do TLS too (caCert and tlsClientCert of its TriggerAuthentication): credentials would go in here.
            port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(f"KEDA can't be served at {self.address} (SNAKEPIT_KEDA_LISTEN): {error}") from error
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        await self._server.start()
        log.info("KEDA's external scaler is served at %s", self.address)

    async def stop(self) -> None:
        """Streams end without an error, after which KEDA dials again soonest."""
        self._ending = True
        for changed in self._streams:
            changed.set()
        await self._server.stop(END_SECONDS)

    # ---- what KEDA calls

    async def IsActive(self, request: pb.ScaledObjectRef, context: Context) -> pb.IsActiveResponse:  # noqa: N802
        """Should the pool have a capsule?"""
        async with _answering(context):
            asked = self._question(request)
            return pb.IsActiveResponse(result=is_active(asked, await self._read(asked)))

    async def GetMetricSpec(self, request: pb.ScaledObjectRef, context: Context) -> pb.GetMetricSpecResponse:  # noqa: N802
        """What the autoscaler that KEDA makes goes by. What is wrong GetMetrics says: here KEDA would keep it from the ScaledObject."""
        try:
            asked = self._question(request)
        except Refusal:
            asked = Question("", RECOMMENDED, 1.0)
        spec = pb.MetricSpec(metricName=asked.metric, targetSize=math.ceil(asked.target), targetSizeFloat=asked.target)
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:  # noqa: N802
        """The metric now."""
        async with _answering(context):
            asked = self._question(request.scaledObjectRef)
            metric = known(request.metricName or asked.metric)
            value = number(asked, metric, await self._read(asked))
            return pb.GetMetricsResponse(metricValues=[pb.MetricValue(metricName=metric, metricValue=value, metricValueFloat=value)])

    async def StreamIsActive(self, request: pb.ScaledObjectRef, context: Context) -> AsyncIterator[pb.IsActiveResponse]:  # noqa: N802
        """The same as IsActive, whenever it changes."""
        async with _answering(context):
            asked = self._question(request)
            if len(self._streams) >= STREAMS:
                why = f"{STREAMS} triggers of type external-push listen already"
                raise Refusal("RESOURCE_EXHAUSTED", f"{why}: use the type external for some")
            async for active in self._activity(asked):
                yield pb.IsActiveResponse(result=active)

    async def StreamMetricSpec(self, request: pb.ScaledObjectRef, context: Context) -> NoReturn:  # noqa: N802
        """KEDA does without: what a trigger asks for changes with the trigger alone."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "a trigger's target changes with its metadata only")

    # ---- how it is answered

    def _question(self, ref: pb.ScaledObjectRef) -> Question:
        asked = question(ref.namespace, ref.scalerMetadata)
        watched = self._pools.namespaces
        if watched and ref.namespace not in watched:
            why = f"this release looks after SnakePools in {', '.join(watched)} only, not in {ref.namespace}"
            raise Refusal("NOT_FOUND", f"{why}: add it to the chart's watchNamespaces, or ask another release")
        return asked

    async def _read(self, asked: Question) -> SnakePool | None:
        try:
            return await self._pools.get(asked.pool)
        except KubeError as error:
            raise Refusal("UNAVAILABLE", f"the operator can't read SnakePool {asked.pool}: {error}") from error
        except msgspec.ValidationError as error:
            why = f"this version of the operator can't read SnakePool {asked.pool}: {error}"
            raise Refusal("FAILED_PRECONDITION", why) from error

    async def _activity(self, asked: Question) -> AsyncIterator[bool]:
        """What changes, and again and again that a pool without capsules is in use."""
        before: bool | None = None
        with self._pools.changes(asked.pool) as changed:
            self._streams.add(changed)
            try:
                while not self._ending:
                    changed.clear()
                    active, waits = await self._look(asked)
                    if active is not None and (waits or active != before):
                        yield active
                        before = active
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(AGAIN_SECONDS if waits else KEEP_SECONDS):
                            await changed.wait()
            finally:
                self._streams.discard(changed)

    async def _look(self, asked: Question) -> tuple[bool | None, bool]:
        """Whether the pool is in use, and whether it has no capsule then. None: nobody knows, and KEDA keeps the pool as it is."""
        try:
            pool = await self._read(asked)
            active = is_active(asked, pool)
        except Refusal as refusal:
            if refusal.code != "UNAVAILABLE":
                raise
            return None, False
        return active, active and pool is not None and not pool.spec.replicas


@contextlib.asynccontextmanager
async def _answering(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except Refusal as refusal:
        await context.abort(grpc.StatusCode[refusal.code], refusal.sentence)
