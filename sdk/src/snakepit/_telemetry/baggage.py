"""OpenTelemetry's baggage of the program around us: what is current where a call is made, and where an offered function runs.

Nothing here loads its API: a program that has not loaded it has no baggage. OTEL_PROPAGATORS without `baggage` is obeyed.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from snakepit._telemetry.propagation import BAGGAGE


def current() -> str:
    """As the header `baggage` has it; empty: there is none."""
    if "opentelemetry.baggage" not in sys.modules or (api := _api()) is None:
        return ""
    context, propagator = api
    if not context.get_current():
        return ""
    carrier: dict[str, str] = {}
    propagator.inject(carrier)
    return carrier.get(BAGGAGE, "")


def make_current(text: str) -> None:
    """What this task does from now on has it, as it came with a call. What is malformed is left out."""
    if "opentelemetry.baggage" in sys.modules and (api := _api()) is not None:
        context, propagator = api
        context.attach(propagator.extract({BAGGAGE: text}, context.get_current()))


@functools.cache
def _api() -> tuple[Any, Any] | None:
    if BAGGAGE not in [each.strip() for each in os.environ.get("OTEL_PROPAGATORS", BAGGAGE).split(",")]:
        return None
    from opentelemetry import context
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    return context, W3CBaggagePropagator()
