"""The W3C's `traceparent`, as text: of which trace something is, below which span, and whether that trace is sampled. Pure.

https://www.w3.org/TR/trace-context-2/ has its form. OpenTelemetry isn't needed: most programs that pass one on don't have it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NOT_SAMPLED = "-"
"""In the place of a traceparent: whoever has begun the trace doesn't sample it, and nobody else is to begin one. It has no id, which would
cost more than all else that there is to do for such a call."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_PLAIN = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[13]")
_ODD = frozenset("13579bdf")
"""Ends of those that are sampled: the lowest bit of the flags; others, such as `random`, may be set beside it."""


class Traceparent(NamedTuple):
    """One that is well-formed, in its parts: hexadecimal, as they are written."""

    version: str
    trace_id: str
    span_id: str
    flags: str


def parse(text: str) -> Traceparent | None:
    """None: it is none. Whoever sends it may send anything."""
    found = _FORM.fullmatch(text) if text else None
    return None if found is None else Traceparent(*found.groups())


def is_sampled(text: str) -> bool:
    """Whether its sender samples that trace."""
    return text[-1:] in _ODD


def is_plain(text: str) -> bool:
    """Whether it is a valid one of a sampled trace, of today's version and with no flags but those that OpenTelemetry's SDK sets."""
    return _PLAIN.fullmatch(text) is not None


def under(text: str, span_id: str) -> str:
    """What is below that span of the same trace."""
    return f"{text[:36]}{span_id}{text[52:]}"


def trace_id(text: str) -> str:
    """Of one that we have written ourselves."""
    return text[3:35]


def span_id(text: str) -> str:
    """Likewise."""
    return text[36:52]
