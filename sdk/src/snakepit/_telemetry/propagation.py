"""What the W3C has beside `traceparent`: `tracestate` and `baggage`. They travel in a call's metadata, under these names. Pure.

So each program passes them on as it does the rest of the metadata, to nested calls too, and an author's tool can read them there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TRACESTATE, BAGGAGE = "tracestate", "baggage"

_MOST = {TRACESTATE: 1024, BAGGAGE: 8192}
"""Characters that are passed on, at least what the W3C asks for. What has more is left out, as it may be, and the call goes on."""


def carried(said: Iterable[tuple[str, Any]], traceparent: str) -> dict[str, str]:
    """What headers, or metadata, of a stranger say of these; a header that comes several times is one list.

    `traceparent`: what they say of that. Without it `tracestate` means nothing.
    """
    found: dict[str, str] = {}
    for name, value in said:
        if name in _MOST and isinstance(value, str) and value:
            found[name] = f"{found[name]},{value}" if name in found else value
    if TRACESTATE in found and len(traceparent) < 2:
        del found[TRACESTATE]
    return {name: text for name, text in found.items() if _is_fit(name, text)} if found else found


def _is_fit(name: str, text: str) -> bool:
    return len(text) <= _MOST[name] and text.isascii() and text.isprintable()
