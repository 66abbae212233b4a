"""What the silence of a link's other end means, while something is expected of it. Pure; `now` is monotonic seconds.

A peer that dies resets its connections, so its death is known at once. One whose packets are lost says nothing: TCP would go on for
minutes, and gRPC's keepalive needs up to 25 s. So an end that waits for something asks (Ping) when it has heard nothing for a moment.
"""

from __future__ import annotations

import enum

LOOK_SECONDS = 0.5
"""Between two looks. Who has said nothing from one to the next is asked."""

SUSPECT_SECONDS = 1.0
"""Unanswered for so long: new calls go elsewhere. Together with two looks that is 2 s after its last word."""

GONE_SECONDS = 4.0
"""Unanswered for so long: whoever waits for it is told. Together with two looks that is 5 s after its last word."""


class Sign(enum.Enum):
    """What is to be done about a peer."""

    FINE = "it speaks, or nothing is expected of it"
    ASK = "it said nothing lately: ask it"
    WAIT = "it has been asked"
    SUSPECT = "it does not answer: send it nothing new"
    GONE = "it has not answered for too long: give it up"


class Silence:
    """That of one peer."""

    __slots__ = ("_asked", "_looked", "is_suspect")

    def __init__(self) -> None:
        self._asked: float | None = None
        self._looked: float | None = None
        self.is_suspect = False

    def look(self, now: float, *, heard: bool, expecting: bool) -> Sign:
        """`heard`: it has said something since the last look. `expecting`: somebody waits for it."""
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        if heard:
            self._asked, self.is_suspect = None, False
        if heard or not (expecting or self._asked is not None):
            return Sign.FINE
        if self._asked is None:
            self._asked = now
            return Sign.ASK
        if passed > 2 * LOOK_SECONDS:  # In a stall of our own nobody listened. Its answer may lie here unread: it has a second more.
            self._asked = max(self._asked + passed, now - GONE_SECONDS + SUSPECT_SECONDS)
            return Sign.ASK
        silent = now - self._asked
        if silent >= GONE_SECONDS:
            return Sign.GONE
        if silent >= SUSPECT_SECONDS:
            self.is_suspect = True
            return Sign.SUSPECT
        return Sign.WAIT
