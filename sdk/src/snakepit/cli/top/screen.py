"""The screen of `snakepit top`: lines, each with how it looks, that fit a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from snakepit.cli.tables import NOTHING, WORKERS, Column, lines, seconds, unanswered
from snakepit.cli.top.look import Look, PoolRow
from snakepit.cli.top.state import SORTS, State, rows

KEYS = "q quit   up down pool   < > sort   I reverse   / filter   Z pause   h help"
HELP = (
    ("Up, Down, Page Up, Page Down, Home, End", "choose a pool, whose workers are shown"),
    ("< and >, F6", "sort by the column to the left, or to the right"),
    ("N, P", "sort by name, or by how busy"),
    ("I", "the other way round"),
    ("/, F3, F4", "show pools whose name has what you type; Enter keeps it, Escape shows all again"),
    ("Z, Space", "pause, and go on"),
    ("q, F10, Ctrl-C", "quit"),
)
_MOST_REASONS = 4

_BESIDE_WORKERS = 3
"""Lines: a blank one, the title and the heading."""
_WITH_WORKERS = 10
"""Lines for pools and workers. Of fewer the pools have all, but for those that they don't need."""


class Line(NamedTuple):
    """`look`: title, heading, selected, warning, quiet, or nothing."""

    text: str
    look: str = ""


def _figure(count: float | None) -> str:
    return NOTHING if count is None else f"{count:.{count < 10:d}f}"


def _time(count: float | None) -> str:
    return NOTHING if count is None else seconds(count)


def errors(counts: Mapping[str, int]) -> str:
    """How many of which reason, the most first."""
    most_first = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{reason} {count}" for reason, count in most_first[:_MOST_REASONS]]
    more = sum(count for _, count in most_first[_MOST_REASONS:])
    return ", ".join(named + ([f"others {more}"] if more else []))


def _trouble(pool: PoolRow) -> str:
    return errors(pool.errors) if pool.available else " ".join(filter(None, [f"! {pool.reason}", errors(pool.errors)]))


POOLS = (
    Column("NAME", lambda pool: pool.name, 0),
    Column("CAPSULES", lambda pool: f"{pool.live_capsules}/{pool.desired_capsules}", 7),
    Column("WORKERS", lambda pool: pool.ready_workers, 4),
    Column("BUSY", lambda pool: f"{pool.busy_slots}/{pool.total_slots}", 2),
    Column("QUEUE", lambda pool: pool.queue_depth, 1),
    Column("WAIT", lambda pool: _time(pool.queue_p99_seconds), 5),
    Column("CALLS/S", lambda pool: _figure(pool.calls_per_second), 1),
    Column("P50", lambda pool: _time(pool.p50_seconds), 3),
    Column("P99", lambda pool: _time(pool.p99_seconds), 2),
    Column("SESSIONS", lambda pool: pool.sessions, 6),
    Column("ERRORS", _trouble, 1),
)
"""WAIT: 99 % of the last minute's calls waited no longer. ERRORS: those of the last minute; of a pool that isn't available, why first."""


def table(look: Look, state: State, width: int | None) -> list[str]:
    """The pools in their order, with a header."""
    return lines(POOLS, rows(look.pools, state), width=width)


def draw(look: Look, state: State, where: str, width: int, height: int, remark: str = "") -> list[Line]:
    """No more lines than `height`, none wider than `width`. `where`: whose pools these are; `remark`: what is to be said of its figures."""
    if state.help:
        body = [Line(""), *(Line(f"  {key:<42}{meaning}") for key, meaning in HELP)]
    else:
        body = _body(look, state, width, max(height - 4, 2))
    head = [Line(_title(look, state, where), "title"), Line(_totals(look)), _remark(look, remark)]
    foot = Line(f"filter: {state.filter}_" if state.typing else KEYS, "quiet")
    kept = [*head, *body][: height - 1]
    padded = kept + [Line("")] * (height - 1 - len(kept))
    return [Line(_fit(text, width), shape) for text, shape in (*padded, foot)]


def page(height: int) -> int:
    """How many pools are shown at once, at most."""
    return max(1, (height - 4) // 2 - 1)


def _title(look: Look, state: State, where: str) -> str:
    title, _, largest_first = SORTS[state.sort]
    order = "largest first" if largest_first is not state.reverse else "smallest first"
    kept = f"   filter {state.filter}" if state.filter and not state.typing else ""
    paused = "   paused" if state.paused else ""
    return f"{where}   {look.time:%H:%M:%S}   by {title}, {order}{kept}{paused}"


def _totals(look: Look) -> str:
    ready, busy = sum(each.ready_workers for each in look.pools), sum(each.busy_slots for each in look.pools)
    slots, queue = sum(each.total_slots for each in look.pools), sum(each.queue_depth for each in look.pools)
    said = [f"pools {len(look.pools)}", f"workers {ready}", f"busy {busy}/{slots}", f"queue {queue}"]
    return "   ".join([*said, f"calls/s {_figure(look.calls_per_second)}", f"errors {errors(look.errors) or 0}"])


def _remark(look: Look, remark: str) -> Line:
    if warning := look.problem or unanswered(look.missing):
        return Line(warning, "warning")
    return Line(remark, "quiet")


def _body(look: Look, state: State, width: int, height: int) -> list[Line]:
    found = rows(look.pools, state)
    if not found:
        return [Line("no pool has that in its name" if look.pools else "there is no pool yet", "quiet")]
    heading, *texts = table(look, state, width)
    at = next((index for index, each in enumerate(found) if each.name == state.selected), 0)
    workers = found[at].workers
    room = height - 1 if height < _WITH_WORKERS else min(len(found), height // 2 - 1)
    first = min(max(0, at - room // 2), max(0, len(found) - room))
    shown = [Line(text, _shape(found[index], index == at)) for index, text in enumerate(texts) if first <= index < first + room]
    below = height - 1 - len(shown)
    return [Line(heading, "heading"), *shown, *(_workers(found[at].name, workers, width, below) if below > _BESIDE_WORKERS else [])]


def _shape(pool: PoolRow, selected: bool) -> str:
    return "selected" if selected else "" if pool.available else "warning"


def _workers(pool: str, workers: Sequence[object], width: int, room: int) -> list[Line]:
    heading, *texts = lines([each for each in WORKERS if each.title not in ("PID", "PYTHON", "NODE", "INCARNATION")], workers, width=width)
    title = f"workers of {pool}" if workers else f"workers of {pool}: none"
    fit = room - _BESIDE_WORKERS
    shown = [Line(text) for text in (texts if len(texts) <= fit else texts[: max(0, fit - 1)])]
    left = len(texts) - len(shown)
    more = [Line(f"and {left} more: snakepit workers {pool}", "quiet")] if left else []
    return [Line(""), Line(title, "title"), *([Line(heading, "heading")] if workers else []), *shown, *more]


def _fit(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width)
