"""A real OpenTelemetry Collector (hack/collector): what comes by OTLP stands in a file, which a test reads."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakepit._telemetry.spans import TABLE, Kind

from .dev_server import Program, wait_until
from .go_tools import go_tool
from .ports import free_port

CONFIGURATION = """
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  file: {{path: {file}, flush_interval: 100ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""

ARRIVE_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Seen:
    """A span as the collector has it."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    error: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    start: int
    end: int
    resource: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    moments: list[int] = field(default_factory=list)
    """Times of its events, in nanoseconds."""

    def __str__(self) -> str:
        return f"{self.name} ({self.service})"


class Collector:
    """Its endpoint, and what has come so far."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{(port := free_port())}"
        self.file = folder / "spans.json"
        configuration = folder / "collector.yaml"
        configuration.write_text(CONFIGURATION.format(port=port, file=self.file))
        self.program = Program(str(go_tool("otel-collector")), "--config", str(configuration))

    @property
    def environment(self) -> dict[str, str]:
        """Of whoever is to send its spans here, soon."""
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_EXPORTER_OTLP_INSECURE": "true"}
        return {**endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRICS_EXPORTER": "none"}

    def spans(self) -> list[Seen]:
        """In the order in which they came. A line that is still being written isn't there yet."""
        text = self.file.read_text() if self.file.exists() else ""
        return [span for line in text[: text.rfind("\n") + 1].splitlines() for span in _spans(json.loads(line))]

    def until(self, missing: Callable[[list[Seen]], list[str]]) -> list[Seen]:
        """The spans, once nothing is missing any more."""
        try:
            wait_until(lambda: not missing(self.spans()), "all spans are there", ARRIVE_SECONDS)
        except AssertionError:
            print("missing:", *missing(self.spans()), self.program.output, sep="\n")
            raise
        return self.spans()


@contextlib.contextmanager
def collecting(folder: Path) -> Iterator[Collector]:
    """Started and ready. Skips the test where the Collector can't be built."""
    collector = Collector(folder)
    try:
        collector.program.says("Everything is ready")
        yield collector
    finally:
        collector.program.end()


def _spans(said: dict[str, Any]) -> Iterator[Seen]:
    for of_resource in said["resourceSpans"]:
        resource = _values(of_resource["resource"])
        for scope in of_resource["scopeSpans"]:
            yield from (_span(resource, each) for each in scope["spans"])


def _span(resource: dict[str, Any], said: dict[str, Any]) -> Seen:
    status = said.get("status", {})
    return Seen(
        resource["service.name"],
        said["name"],
        said["traceId"],
        said["spanId"],
        said.get("parentSpanId", ""),
        said.get("kind", 0),
        status.get("message", "failed") if status.get("code") == 2 else "",
        _values(said),
        [(each["name"], _values(each)) for each in said.get("events", [])],
        int(said["startTimeUnixNano"]),
        int(said["endTimeUnixNano"]),
        resource,
        said.get("traceState", ""),
        [int(each["timeUnixNano"]) for each in said.get("events", [])],
    )


def _values(of: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: _plain(each["value"]) for each in of.get("attributes", [])}


def _plain(value: dict[str, Any]) -> Any:
    ((kind, said),) = value.items()
    return int(said) if kind == "intValue" else said


def kind_of(service: str, name: str) -> Kind | None:
    """The row of docs/tracing.md that a span of that service and name belongs to; None: it is none of ours."""
    return next((each for each in TABLE if service in (each.service, *each.also) and _is_like(name, each.name)), None)


def _is_like(name: str, pattern: str) -> bool:
    first, has_more, _ = pattern.partition("{")
    if not has_more:
        return name == pattern
    return name.startswith(first) and len(name) > len(first) if first else name.split(" ", 1)[0].isupper()
