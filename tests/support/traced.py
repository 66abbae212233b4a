"""Tools of an author who traces what they do, with OpenTelemetry's own SDK; and ways to fail, to wait, and to lose a worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from snakepit import Adapter, Context, tool

AUTHOR = "the author's service"
HOLD_SECONDS = 60.0


class Traced(Adapter):
    """`folder` arguments are of the test: files in them tell and are told."""

    def setup(self) -> None:
        self.provider = TracerProvider(resource=Resource.create({SERVICE_NAME: AUTHOR}))
        self.provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))  # a worker may die at once
        self.tracer = self.provider.get_tracer("author")

    def teardown(self) -> None:
        self.provider.shutdown()

    @tool
    def report(self, *, ctx: Context) -> str:
        ctx.state.set("title", "sales")
        with self.tracer.start_as_current_span("draw the chart"):
            ctx.logger.info("drawing")
            total = ctx.call_tool("totals", {"values": [1, 2, 3]})
        return f"{ctx.state.get('title')}: {total}"

    @tool
    def totals(self, values: list[int]) -> int:
        return sum(values)

    @tool
    def whose(self) -> str:
        """The trace and the span that are current here, with what came along."""
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x} {context.span_id:016x} {context.trace_state.to_header()} {baggage.get_baggage('customer')}"

    @tool
    def ask(self, *, ctx: Context) -> Any:
        return ctx.call_tool("approve", {"what": "the budget"})

    @tool
    def hold(self, folder: str, name: str) -> str:
        """Until the folder has a file `go`."""
        (Path(folder) / name).touch()
        end = time.monotonic() + HOLD_SECONDS
        while not (Path(folder) / "go").exists() and time.monotonic() < end:
            time.sleep(0.005)
        return name

    @tool
    def die(self) -> None:
        os._exit(3)

    @tool(idempotent=True)
    def frail(self, folder: str) -> str:
        """Its worker dies the first time."""
        path = Path(folder) / "died"
        if not path.exists():
            path.touch()
            os._exit(3)
        return "there"

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @tool
    def fail(self) -> None:
        raise LookupError("nothing there")
