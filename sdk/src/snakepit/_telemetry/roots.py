"""New traces: their ids, and which of them aren't sampled, before OpenTelemetry's SDK makes anything of them.

Most calls begin a trace that nobody will see, and for those the SDK's own way costs more than all else of tracing. Imported only where
there is somewhere to send spans to.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from random import getrandbits

from opentelemetry.context import get_current
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

_RATIO = ("traceidratio", "parentbased_traceidratio")
_NEVER = ("always_off", "parentbased_always_off")
_MOST = TraceIdRatioBased.TRACE_ID_LIMIT


def rate(environment: Mapping[str, str]) -> float | None:
    """The share of new traces that are sampled, as OTEL_TRACES_SAMPLER says; None: only that sampler knows, or it is each."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler in _NEVER:
        return 0.0
    if sampler not in _RATIO:
        return None
    try:
        share = float(environment.get("OTEL_TRACES_SAMPLER_ARG", ""))
    except ValueError:  # the SDK says so, and samples each
        return None
    return share if 0 <= share < 1 else None


class Roots(RandomIdGenerator):
    """The SDK's ids, and its decision by them: it would decide the same. Within a span of the surrounding program's nothing begins anew."""

    def __init__(self, share: float | None) -> None:
        self._bound = None if share is None else TraceIdRatioBased.get_bound_for_rate(share)
        self._chosen = threading.local()

    def passed_over(self) -> str:
        """The traceparent of a new trace that isn't sampled. Empty: it is, or the SDK has to say; this thread's next trace is that one."""
        if self._bound is None or get_current():
            return ""
        trace = getrandbits(128) or 1
        if trace & _MOST < self._bound:
            self._chosen.trace = trace
            return ""
        return f"00-{trace:032x}-{getrandbits(64) or 1:016x}-02"

    def generate_trace_id(self) -> int:
        """Of a new trace."""
        trace: int = self._chosen.__dict__.pop("trace", 0)
        return trace or super().generate_trace_id()
