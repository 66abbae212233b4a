"""A span, as those see it who say things of it. `sdk_spans` has OpenTelemetry's own behind it, `own_spans` ours. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

Attributes = Mapping[str, str | int | float | bool]
Said = Attributes | Callable[[], Attributes]
"""What is said of a span. Where it has to be put together first: asked for when the span is sent, by another thread."""


def whole(said: Said) -> Attributes:
    """All of it, put together."""
    return said() if callable(said) else said


class SpanEvent(NamedTuple):
    """What happened to it, at that Unix time."""

    name: str
    at_ns: int
    attributes: Attributes


More = Callable[[], tuple[Attributes, Sequence[SpanEvent]]]
"""What else is to be said of a span that is over: asked for likewise."""


class Span(Protocol):
    """A running span. `traceparent` is what travels to the next hop; it is valid before and after the end."""

    @property
    def traceparent(self) -> str: ...

    @property
    def tracestate(self) -> str:
        """What travels beside it, as the header `tracestate` has it; mostly empty."""

    @property
    def is_recording(self) -> bool:
        """False: it isn't sampled, and what is said of it goes nowhere."""

    def rename(self, name: str) -> None:
        """More is known of it now."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int | None = None) -> None:
        """Something happened: now, or at that Unix time in nanoseconds."""

    def end(self, error: str = "", started: str = "", more: More | None = None) -> None:
        """Finish the span. `error` is the reason of a failure, e.g. POOL_SATURATED; `started`: may its tool have run (yes, no, maybe)?"""
