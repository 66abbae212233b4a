"""Where a call can be on its worker's side, and what may happen to it there: one table, and the ways through it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Event = Literal["join", "wait", "reserve", "send", "give back", "return", "leave", "end"]


class State:
    """Where a call is, on its worker's side."""

    __slots__ = ("meaning", "name")

    def __init__(self, name: str, meaning: str) -> None:
        self.name = name
        self.meaning = meaning

    def __repr__(self) -> str:
        return self.name


NEW = State("new", "it has come in, and has no place yet")
JOINED = State("joined", "it waits for the outcome of a call of its idempotency key")
QUEUED = State("queued", "it waits: for a slot, for its session's turn, or for what is asked about its session")
RESERVED = State("reserved", "a slot is counted for it, until its session is bound to the slot's worker")
SENT = State("sent", "its agent has it")
RETURNED = State("returned", "it is on no worker any more, and goes to another one")
LEFT = State("left", "its worker has done with it; what it gave is on its way to the caller")
ENDED = State("ended", "it is answered, and on no worker")

TABLE: Mapping[State, Mapping[Event, State]] = {
    NEW: {"join": JOINED, "wait": QUEUED, "reserve": RESERVED, "send": SENT, "end": ENDED},
    JOINED: {"end": ENDED},
    QUEUED: {"reserve": RESERVED, "send": SENT, "end": ENDED},
    RESERVED: {"send": SENT, "give back": RETURNED},
    SENT: {"return": RETURNED, "leave": LEFT, "end": ENDED},
    RETURNED: {"wait": QUEUED, "reserve": RESERVED, "send": SENT, "end": ENDED},
    LEFT: {"end": ENDED},
    ENDED: {},
}
"""The one table: every way of a call is a way through it."""


class Path:
    """A way through the table that calls take, by these events: since they were new, or since they last came back."""

    __slots__ = ("after", "events", "state")

    def __init__(self, state: State, *events: Event) -> None:
        self.state = state
        self.events = events
        self.after: dict[Event, Path] = {}

    def lead_on(self, back: Mapping[Event, Path]) -> Path:
        """Find what may come next, and so on. What was before a call came back is not kept: it may come back again and again."""
        for event, state in TABLE[self.state].items():
            self.after[event] = back[event] if state is RETURNED else Path(state, *self.events, event).lead_on(back)
        return self


_BACK = {event: Path(RETURNED, event) for row in TABLE.values() for event, state in row.items() if state is RETURNED}
BEGINNING, *_ = [path.lead_on(_BACK) for path in (Path(NEW), *_BACK.values())]


class ImpossibleMove(Exception):
    """A defect of ours: something happened to a call that can't happen where it is."""
