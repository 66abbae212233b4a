"""What pages draw, out of what the SDK says: capsules with their workers, the last hour, a call's way. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from snakepit._names import parse_worker
from snakepit.client.history import Minute
from snakepit.client.views import CallInfo, WorkerInfo

HOUR = 60
_LONG_SECONDS = 1.0
_NEW_SECONDS = 30.0
"""So long it is said at a worker how its last life ended."""
_SHOWN_SLOTS = 12


def element_id(prefix: str, text: str) -> str:
    """An id that a selector can have as it is."""
    return prefix + re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}", text)


# ---- workers


class Cell(msgspec.Struct, frozen=True):
    """One worker. `kind` is its colour, `word` says the same; `doing` is the tool that it runs, and how long by now."""

    id: str
    index: int
    kind: str
    word: str
    running: int
    slots: tuple[bool, ...]
    doing: str
    seconds: float
    why: str


class Capsule(msgspec.Struct, frozen=True):
    """One capsule with its workers."""

    name: str
    ready: int
    cells: tuple[Cell, ...]
    node: str = ""


def kind_of(worker: WorkerInfo) -> tuple[str, str]:
    """A worker's colour, and the word for it."""
    if worker.liveness == "lost":
        return "bad", "lost"
    if worker.liveness == "suspect":
        return "warn", "silent"
    if worker.state == "backoff":
        return "bad", "can't start"
    if worker.state == "stopped":
        return "off", "stopped"
    if worker.state in ("starting", "draining"):
        return "warn", worker.state
    return ("busy", "busy") if worker.running else ("idle", "idle")


def capsules(workers: Iterable[WorkerInfo], running: Iterable[CallInfo]) -> list[Capsule]:
    """The workers as they stand in their capsules, by name."""
    tools: dict[str, list[str]] = {}
    for call in running:
        tools.setdefault(call.incarnation, []).append(call.tool)
    boxes: dict[str, list[tuple[WorkerInfo, Cell]]] = {}
    for worker in workers:
        capsule, index = parse_worker(worker.id)
        boxes.setdefault(capsule, []).append((worker, _cell(worker, index, tools.get(worker.incarnation, []))))
    return [
        Capsule(
            name,
            sum(each.state == "ready" for each, _ in box),
            tuple(sorted((cell for _, cell in box), key=lambda cell: cell.index)),
            box[0][0].node,
        )
        for name, box in sorted(boxes.items(), key=lambda item: natural(item[0]))
    ]


def _cell(worker: WorkerInfo, index: int, tools: list[str]) -> Cell:
    kind, word = kind_of(worker)
    long = float(int(worker.oldest_running_seconds)) if worker.oldest_running_seconds >= _LONG_SECONDS else 0.0
    names = (
        "" if not worker.running else ", ".join(f"{times} {tool}" if times > 1 else tool for tool, times in sorted(Counter(tools).items()))
    )
    slots = tuple(at < worker.running for at in range(worker.slots)) if worker.slots <= _SHOWN_SLOTS else ()
    why = f"{worker.reason}: {worker.message}" if worker.reason and worker.state != "ready" else ""
    if not why and worker.ended and worker.age_seconds < _NEW_SECONDS:
        why = worker.ended
    return Cell(worker.id, index, kind, word, worker.running, slots, names, long, why)


def natural(text: str) -> list[tuple[int, str]]:
    """For sorting: digits-2 stands before digits-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


class Node(msgspec.Struct, frozen=True):
    """One machine: how many capsules and workers of a pool it has, how many of these serve, and how many of its slots are busy."""

    name: str
    capsules: int
    workers: int
    serving: int
    running: int
    slots: int


def nodes(workers: Iterable[WorkerInfo]) -> list[Node]:
    """The machines that workers are on, where that is said: those first on which some don't serve, then by name."""
    found: dict[str, list[WorkerInfo]] = {}
    for each in workers:
        found.setdefault(each.node, []).append(each)
    made = [
        Node(
            name,
            len({parse_worker(each.id)[0] for each in its}),
            len(its),
            sum(kind_of(each)[0] in ("idle", "busy") for each in its),
            sum(each.running for each in its),
            sum(each.slots for each in its),
        )
        for name, its in found.items()
        if name
    ]
    return sorted(made, key=lambda node: (node.serving == node.workers, natural(node.name)))


def restarted(workers: Iterable[WorkerInfo], most: int = 12) -> list[WorkerInfo]:
    """Those with earlier lives; whose present life is youngest comes first."""
    told = [each for each in workers if each.ended]
    return sorted(told, key=lambda each: each.age_seconds)[:most]


def queue(calls: Iterable[CallInfo]) -> list[tuple[str, int, float]]:
    """Who waits: each caller with its number of calls, and how long the one that came first has waited."""
    waiting: dict[str, list[float]] = {}
    for each in calls:
        waiting.setdefault(each.caller, []).append(each.queue_seconds)
    return sorted(((who, len(found), max(found)) for who, found in waiting.items()), key=lambda each: -each[1])


# ---- the last hour


class Spark(msgspec.Struct, frozen=True):
    """Calls of each of the last sixty minutes, as the points of a line in a box of 120 by 24; `errors`: where some failed."""

    points: str
    errors: tuple[float, ...]
    label: str


def hour(minutes: Sequence[Minute], now: datetime) -> list[Minute | None]:
    """The last sixty minutes, None where nothing is known of one."""
    last = now.replace(second=0, microsecond=0)
    known = {each.begin.replace(second=0, microsecond=0): each for each in minutes}
    return [known.get(last - timedelta(minutes=HOUR - 1 - at)) for at in range(HOUR)]


def spark(minutes: Sequence[Minute], now: datetime) -> Spark:
    """That hour as a small line."""
    last = hour(minutes, now)
    calls = [each.calls if each else 0 for each in last]
    failed = [sum(each.errors.values()) if each else 0 for each in last]
    most = max(max(calls), 1)
    corners = [at for at in range(HOUR) if at in (0, HOUR - 1) or not calls[at - 1] == calls[at] == calls[at + 1]]
    points = " ".join(f"{at * 120 / (HOUR - 1):.1f},{23 - 21 * calls[at] / most:.1f}" for at in corners)
    errors = tuple(round(at * 120 / (HOUR - 1), 1) for at, each in enumerate(failed) if each)
    return Spark(points, errors, f"last hour: {sum(calls)} calls, {max(calls)} in the busiest minute, {sum(failed)} failed")


def series(minutes: Sequence[Minute], now: datetime) -> list[list[float | None]]:
    """That hour for the graph: moments, calls a second, failed ones a second, p50 and p99 in milliseconds."""
    last = hour(minutes, now)
    end = now.replace(second=0, microsecond=0).timestamp()
    return [
        [end - 60 * (HOUR - 1 - at) for at in range(HOUR)],
        [round(each.calls / 60, 3) if each else 0.0 for each in last],
        [round(sum(each.errors.values()) / 60, 3) if each else 0.0 for each in last],
        [_milliseconds(each.p50_seconds if each else None) for each in last],
        [_milliseconds(each.p99_seconds if each else None) for each in last],
    ]


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value * 1000, 2)


# ---- a call


class Stage(msgspec.Struct, frozen=True):
    """From one event of a call to the next: where it begins and how wide it is, in percent of the whole."""

    what: str
    detail: str
    at: float
    seconds: float
    left: float
    width: float


def stages(call: CallInfo) -> list[Stage]:
    """A call's way: what happened when, and how long it was so."""
    total = max(call.total_seconds, *(each.seconds for each in call.events), 1e-9) if call.events else 1e-9
    ends = [*(each.seconds for each in call.events), total]
    return [
        Stage(each.what, each.detail, begin, end - begin, round(100 * begin / total, 2), round(100 * (end - begin) / total, 2))
        for each, (begin, end) in zip(call.events, pairwise(ends), strict=True)
    ]
