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

    def passes_over(self) -> bool:
        """Whether a new trace isn't sampled. False: it is, or the SDK has to say; this thread's next trace is that one."""
        if self._bound is None or get_current():
            return False
        low = getrandbits(64)
        if low >= self._bound:
            return True
        self._chosen.trace = getrandbits(64) << 64 | low
        return False

    def begun(self) -> int:
        """Of a new trace that is sampled; 0: the SDK has to say whether it is."""
        return self._pop() if self._bound is not None else super().generate_trace_id()

    def generate_trace_id(self) -> int:
        """Of a new trace."""
        return self._pop() or super().generate_trace_id()

    def next_span(self, id_: int) -> None:
        """This thread's next span has that id: it was known before there was a span."""
        self._chosen.span = id_

    def generate_span_id(self) -> int:
        """Of a new span."""
        return self._pop("span") or super().generate_span_id()

    def _pop(self, what: str = "trace") -> int:
        chosen: int = self._chosen.__dict__.pop(what, 0)
        return chosen
