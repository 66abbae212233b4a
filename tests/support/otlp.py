"""A real OTLP receiver: the collector's own gRPC service, keeping the spans that arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Metrics by service and name, as they came last; and the exemplars of histograms, of every push."""

    def __init__(self) -> None:
        self.metrics: dict[tuple[str, str], Metric] = {}
        self.exemplars: dict[tuple[str, str], list[Exemplar]] = {}
        self.pushes = 0

    async def Export(self, request, context):  # noqa: N802
        self.pushes += 1
        for resource in request.resource_metrics:
            service = next((a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), "")
            for each in (each for scope in resource.scope_metrics for each in scope.metrics):
                self.metrics[service, each.name] = each
                points = (*each.histogram.data_points, *each.exponential_histogram.data_points)
                self.exemplars.setdefault((service, each.name), []).extend(told for point in points for told in point.exemplars)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Spans by name, with the service that sent them; `metrics` has what else came."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.metrics = MetricsReceiver()
        self.port = 0
        self._arrived = asyncio.Event()

    async def Export(self, request, context):  # noqa: N802
        for resource in request.resource_spans:
            service = next((a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), "")
            self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self._arrived.set()
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        """Those that have come with that name."""
        return [span for _, span in self.spans if span.name == name]

    async def until(self, names: set[str], timeout: float = 30) -> dict[str, Span]:
        """The first span of each name prefix, once all are there."""
        async with asyncio.timeout(timeout):
            while missing := names - {n for n in names for _, s in self.spans if s.name.startswith(n)}:
                self._arrived.clear()
                try:
                    await self._arrived.wait()
                except asyncio.CancelledError:
                    print(f"missing {missing}; arrived: {[(service, s.name) for service, s in self.spans]}")
                    raise
        return {n: next(s for _, s in self.spans if s.name.startswith(n)) for n in names}


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver.metrics, server)
    receiver.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(0)


def said(of: Any) -> dict[str, Any]:
    """Attributes of a span, or of one of its events."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def happened(span: Any) -> list[tuple[str, dict[str, Any]]]:
    """Its events."""
    return [(each.name, said(each)) for each in span.events]
