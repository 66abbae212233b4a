"""Is a worker that runs no call still there? What silence says about it. Pure; `now` is monotonic seconds.

Everything that a worker says is a sign of life. Only one that says nothing and runs nothing is asked (`Ping`), once a heartbeat; a thread
of its own answers. Busy is not dead: while it holds a call, deadlines alone decide about it.
"""

from __future__ import annotations

import enum
from collections.abc import Container
from dataclasses import dataclass

from snakepit.spec.fields import HeartbeatSpec


class Reaction(enum.Enum):
    """What is to be done about a worker."""

    ASK = "it said nothing lately: ask it"
    SUSPECT = "it does not answer: give it no new calls"
    LOST = "it has not answered for too long: replace it"


@dataclass(slots=True)
class _Sign:
    """`asked`: since when a question is unanswered. `quiet_until`: it is new, and not asked before."""

    quiet_until: float
    asked: float | None = None
    suspect: bool = False


class Liveness:
    """All ready workers of one capsule, by incarnation."""

    def __init__(self, heartbeat: HeartbeatSpec) -> None:
        self.heartbeat = heartbeat
        self._signs: dict[str, _Sign] = {}
        self._beaten: float | None = None

    def ready(self, incarnation: str, now: float) -> None:
        """The worker serves, and is watched from now on."""
        self._signs[incarnation] = _Sign(now + self.heartbeat.initial_delay_seconds)

    def gone(self, incarnation: str) -> None:
        """The worker has ended, or is being stopped."""
        self._signs.pop(incarnation, None)

    def heard(self, incarnation: str) -> None:
        """The worker has given a sign of life."""
        if (sign := self._signs.get(incarnation)) is not None:
            sign.asked, sign.suspect = None, False

    def unread(self, incarnation: str, now: float) -> list[Reaction]:
        """It has left its calls unread, though it runs none."""
        sign = self._signs.get(incarnation)
        if sign is None or sign.suspect:
            return []
        sign.suspect = True
        if sign.asked is not None:
            return [Reaction.SUSPECT]
        sign.asked = now
        return [Reaction.SUSPECT, Reaction.ASK]

    def beat(self, now: float, heard: Container[str], busy: Container[str]) -> list[tuple[str, Reaction]]:
        """Once a heartbeat. `heard`: who has said something since the last one; `busy`: who holds calls."""
        stalled = self._beaten is not None and now - self._beaten > 2 * self.heartbeat.interval_seconds
        self._beaten = now
        found = []
        for incarnation, sign in self._signs.items():
            if incarnation in heard:
                sign.asked = None
            elif incarnation not in busy and now >= sign.quiet_until and (reaction := self._judge(sign, now, stalled=stalled)):
                found.append((incarnation, reaction))
        return found

    def _judge(self, sign: _Sign, now: float, *, stalled: bool) -> Reaction | None:
        """`stalled`: we had no time ourselves, as in a frozen pod, and then nor had the workers."""
        if sign.asked is None or stalled:
            sign.asked = now
            return Reaction.ASK
        silence = now - sign.asked
        if silence >= self.heartbeat.timeout_seconds:
            return Reaction.LOST
        if not sign.suspect and silence >= self.heartbeat.miss_threshold * self.heartbeat.interval_seconds:
            sign.suspect = True
            return Reaction.SUSPECT
        return None
