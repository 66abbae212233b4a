"""What happened to a call, the first thing first: for its record, and for its trace. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from snakepit_control_plane.model.call import RECALLED, RERUN, Leg
from snakepit_control_plane.model.records import Record

_CAME_BACK = {RECALLED: "recalled", RERUN: "rerun"}


class Happened(NamedTuple):
    """`at`: of the loop's clock. `worker`: where; `reason`: the agent's word, or the outcome's."""

    at: float
    what: str
    worker: str = ""
    reason: str = ""


def way(record: Record, *, ended: bool) -> list[Happened]:
    """All of it; `ended`: the record is of a call that has been answered."""
    found = list[Happened]()
    for leg in record.before:
        found += _leg(record, leg)
        if leg.why:
            what = _CAME_BACK.get(leg.why, "rejected")
            found.append(Happened(leg.ended, what, leg.worker, leg.why if what == "rejected" else ""))
    found += _leg(record, record.legs[-1])
    if ended:
        found.append(Happened(record.ended, "answered", reason=record.reason))
    # One whose run went out at once had its key before.
    return sorted(found, key=lambda each: (each.at, each.what != "joined"))


def _leg(record: Record, leg: Leg) -> Iterator[Happened]:
    if "join" in leg.events:
        yield Happened(record.came_at, "joined")
    if "wait" in leg.events:
        yield Happened(leg.queued_at, "queued")
    if leg.was_sent:
        if "reserve" in leg.events:
            yield Happened(leg.sent_at, "rebound" if record.epoch > 1 else "bound", leg.worker)
        yield Happened(leg.sent_at, "sent ahead" if leg.ahead else "sent", leg.worker)
