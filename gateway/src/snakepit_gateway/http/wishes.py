"""What a request says of its call beside the arguments, in headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from snakepit._names import call_id
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE, carried
from snakepit.client.calls import Relay
from snakepit.errors import InvalidArguments
from snakepit_gateway.traces import passed_on

SSE, NDJSON = "text/event-stream", "application/x-ndjson"

Headers = Mapping[bytes, bytes]


class Wishes(NamedTuple):
    """`session` empty: none. `stream`: the media type, if it accepts one that streams."""

    relay: Relay
    authorization: str
    session: str
    affinity: Any
    stream: str


def wishes(headers: Headers) -> Wishes:
    """Raises InvalidArguments, which names the header."""

    def text(name: bytes) -> str:
        return headers.get(name, b"").decode("latin-1").strip()

    traceparent = passed_on(text(b"traceparent"))
    relay = Relay(
        call_id=call_id(),
        traceparent=traceparent,
        carried=carried(((name, text(name.encode())) for name in (TRACESTATE, BAGGAGE)), traceparent),
        timeout=_timeout(text(b"snakepit-timeout"), text(b"request-timeout")),
        idempotency_key=_key(headers.get(b"idempotency-key", b"")),
        priority=_word("Snakepit-Priority", text(b"snakepit-priority")),
    )
    session, affinity = text(b"snakepit-session"), _word("Snakepit-Affinity", text(b"snakepit-affinity"))
    if affinity is not None and not session:
        raise InvalidArguments("Snakepit-Affinity is of a session: send Snakepit-Session too")
    return Wishes(relay, text(b"authorization"), session, affinity, stream(text(b"accept")))


def stream(accept: str) -> str:
    """Which of the two it names first; empty: neither."""
    found = [(accept.find(each), each) for each in (SSE, NDJSON) if each in accept]
    return min(found)[1] if found else ""


def _timeout(ours: str, common: str) -> float | None:
    name, text = ("Snakepit-Timeout", ours) if ours else ("Request-Timeout", common)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise InvalidArguments(f"{name} {text[:40]!r} is not a number of seconds above 0")
    return seconds


def _key(value: bytes) -> str | None:
    """Bare, or in quotes as the draft of the header has it."""
    try:
        return value.decode().strip().strip('"') or None
    except UnicodeDecodeError:
        raise InvalidArguments("Idempotency-Key is not UTF-8") from None


_WORDS = {"Snakepit-Priority": ("high", "normal", "low"), "Snakepit-Affinity": ("hint", "strict_queue", "strict_fail_fast")}


def _word(name: str, text: str) -> Any:
    if not text:
        return None
    if text not in _WORDS[name]:
        raise InvalidArguments(f"{name} {text[:40]!r} is unknown: use {', '.join(_WORDS[name][:-1])} or {_WORDS[name][-1]}")
    return text
