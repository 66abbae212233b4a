"""What a request says of its call beside the arguments, in headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from snakepit._names import call_id
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE, carried
from snakepit.client.calls import Relay
from snakepit.errors import InvalidArguments
from snakepit_gateway.http.served import ASKED, JSON, NDJSON, SSE
from snakepit_gateway.traces import passed_on

Headers = Mapping[bytes, bytes]


class Wishes(NamedTuple):
    """`session` empty: none. `stream`: the media type, if it accepts one that streams; `whole`: but rather JSON where nothing comes before
    the result."""

    relay: Relay
    authorization: str
    session: str
    affinity: Any
    stream: str
    whole: bool


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
    return Wishes(relay, text(b"authorization"), session, affinity, *stream(text(b"accept")))


def stream(accept: str) -> tuple[str, bool]:
    """Which of the two it would rather have, empty: neither; and whether JSON is named as well, so that it does where nothing streams."""
    accept = accept.lower()
    if SSE not in accept and NDJSON not in accept:
        return "", True
    wanted = dict(_range(each) for each in accept.split(","))
    best = max((kind for kind in wanted if kind in (SSE, NDJSON)), key=wanted.__getitem__, default="")
    if not wanted.get(best) or wanted[best] < wanted.get(JSON, 0.0):
        return "", True
    return best, wanted[best] == wanted.get(JSON)


def _range(text: str) -> tuple[str, float]:
    """A media type, and how much it is wanted, from 0 to 1. A weight that is no number is none."""
    kind, *parameters = text.split(";")
    weight = next((value for name, _, value in (each.strip().partition("=") for each in parameters) if name == "q"), "1")
    try:
        return kind.strip(), float(weight)
    except ValueError:
        return kind.strip(), 1.0


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


def _word(name: str, text: str) -> Any:
    if not text:
        return None
    words = (ASKED[name].schema or {})["enum"]
    if text not in words:
        raise InvalidArguments(f"{name} {text[:40]!r} is unknown: use {', '.join(words[:-1])} or {words[-1]}")
    return text
