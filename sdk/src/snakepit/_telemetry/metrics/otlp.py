"""Metrics over OTLP, from the instruments that scrapes are answered from: every minute, by a thread of its own, where OTEL_* say so.

OTEL_EXPORTER_OTLP_(METRICS_)ENDPOINT says where to; OTEL_METRICS_EXPORTER=none and OTEL_SDK_DISABLED=true are obeyed. The OpenTelemetry SDK
(extra `otel`) is imported only when there is somewhere to send to. A collector that is slow or away costs what it misses, and nothing else:
one push goes on at a time, bounded by the exporter's time-out, and values are sums, of which the next push has all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from snakepit import __version__, _extras
from snakepit._telemetry.metrics.instruments import Registry
from snakepit._telemetry.metrics.starts import Starts

INTERVAL_SECONDS = 60.0
"""Between two pushes, where OTEL_METRIC_EXPORT_INTERVAL (milliseconds) says nothing else."""

SHORTEST_SECONDS = 0.1

FAREWELL_SECONDS = 2.0
"""A process that ends waits so long for its last push."""

MOST_POINTS = 2000
"""In one request: gRPC's messages have 4 MiB at most."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

log = logging.getLogger(__name__)


class Push:
    """Pushes until `stop`. `exporter`: OpenTelemetry's; None: there is nothing to do."""

    def __init__(self, registry: Registry, exporter: Any, resource: Any, seconds: float) -> None:
        self._registry, self._exporter, self._resource, self._seconds = registry, exporter, resource, seconds
        self._starts = Starts(time.time_ns())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="OTLP metrics", daemon=True)
        if self.is_on:
            self._thread.start()

    @property
    def is_on(self) -> bool:
        """Is there somewhere to push to?"""
        return self._exporter is not None

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._push()
        self._push()

    def _push(self) -> None:
        from snakepit._telemetry.metrics.points import metrics_data

        now = time.time_ns()
        try:
            self._exporter.export(metrics_data(self._registry.collect(), self._resource, self._starts, now))
            self._starts.pushed(now)
        except Exception:  # A push that goes wrong is the last thing that may end what it tells of.
            log.exception("metrics could not be pushed")

    async def stop(self) -> None:
        """Push once more, and end; after FAREWELL_SECONDS in any case."""
        if self.is_on:
            self._stopping.set()
            await asyncio.to_thread(self._thread.join, FAREWELL_SECONDS)
            await asyncio.to_thread(self._exporter.shutdown)


def begin(registry: Registry, service_name: str, environment: Mapping[str, str] = os.environ) -> Push:
    """Push what the registry has, where the environment says; nothing where it says nowhere."""
    if not _wanted(environment):
        return Push(registry, None, None, 0.0)
    try:
        exporter, resource = _set_up(service_name, environment)
    except ModuleNotFoundError as missing:
        log.warning("no metrics are pushed: the module %r is missing, which sends them. %s", missing.name, _extras.OTEL)
        return Push(registry, None, None, 0.0)
    except Exception as error:  # What a variable says may be wrong in any way, and ends nothing but pushing.
        log.warning("no metrics are pushed, look at the variables OTEL_*: %s: %s", type(error).__name__, error)
        return Push(registry, None, None, 0.0)
    return Push(registry, exporter, resource, _interval(environment))


def _set_up(service_name: str, environment: Mapping[str, str]) -> tuple[Any, Any]:
    """OpenTelemetry's exporter and resource. Raises what it raises where it can't read a variable."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.resources import Resource

    about = {
        "service.name": environment.get("OTEL_SERVICE_NAME", service_name),
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
    }
    return OTLPMetricExporter(max_export_batch_size=MOST_POINTS), Resource.create(about)


def _wanted(environment: Mapping[str, str]) -> bool:
    # Empty is unset (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or (environment.get("OTEL_METRICS_EXPORTER") or "otlp") != "otlp":
        return False
    return any(environment.get(name) for name in _ENDPOINTS)


def _interval(environment: Mapping[str, str]) -> float:
    told = environment.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    if told and not told.isdecimal():
        log.warning("OTEL_METRIC_EXPORT_INTERVAL is %r: it must be a number of milliseconds; %g s are taken", told, INTERVAL_SECONDS)
        return INTERVAL_SECONDS
    return max(SHORTEST_SECONDS, int(told) / 1000) if told else INTERVAL_SECONDS
