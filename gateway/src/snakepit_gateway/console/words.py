"""Figures as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from snakepit.client.views import MoveInfo

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def seconds(value: float | None) -> str:
    """A duration: three digits at most, in the unit that suits."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.{0 if value >= 0.00995 else 1}f} ms" if value >= 0.00005 else "0 ms"
    if value < 9.95:
        return f"{value:.1f} s"
    return span(value)


def span(value: float) -> str:
    """A duration of seconds or more, without fractions."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" if whole >= 600 else f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(value: float) -> str:
    """Bytes."""
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def rate(value: float) -> str:
    """Calls a second."""
    return "0" if value < 0.005 else f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def count_of(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def clock(value: datetime) -> str:
    """A moment, in UTC: its day too, where that is not today."""
    today = value.date() == datetime.now(UTC).date()
    return value.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def ago(value: datetime) -> str:
    """How long since; in the future: until then."""
    gone = (datetime.now(UTC) - value).total_seconds()
    return "now" if abs(gone) < 1 else f"{span(gone)} ago" if gone > 0 else f"in {span(-gone)}"


def plural(number: int, word: str) -> str:
    return f"{count_of(number)} {word if number == 1 else word + 's'}"


def json(value: Any) -> str:
    """A value as JSON, on one line."""
    return msgspec.json.encode(value).decode()


def pretty(value: Any) -> str:
    """A value as indented JSON, or as Python shows what JSON doesn't have."""
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(value)


def sentence(value: str) -> str:
    """A clause as it stands alone."""
    return f"{value[:1].upper()}{value[1:]}{'' if value.endswith('.') else '.'}"


_MOVED = {
    "busy": "its worker was busy, and another one was not",
    "rebind": "somebody asked for it: rebind",
    "crashed": "its worker crashed",
    "oom": "its worker was out of memory",
    "recycled": "its worker was recycled",
    "evicted": "its capsule was evicted, or its node drained",
    "scaled down": "its pool became smaller",
    "lost": "nothing was heard of its worker any more",
}


def moved(move: MoveInfo) -> str:
    """Why a session was bound anew."""
    return _MOVED.get(move.reason, move.reason)


FILTERS = {each.__name__: each for each in (seconds, span, size, rate, count_of, clock, ago, plural, pretty, moved, sentence)}
