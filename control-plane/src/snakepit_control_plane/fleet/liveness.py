"""Live, Suspect, Lost: what silence and broken links say about an agent, and when they rather say something about us. Pure.

It decides, and `monitor` acts. Nobody is lost before the store agrees that no replica hears the agent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from snakepit._wire.silence import SUSPECT_SECONDS
from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import pool_pb2

GUARD_CAPSULES = 3
GUARD_TIMEOUTS = 10

LATE_BEAT = 0.5
"""Of the interval: so late a heartbeat may come."""

LATE_SECONDS = 0.25
"""A look that comes this late: the replica was stopped or overwhelmed, and did not listen meanwhile."""

STALLS_REMEMBERED = 1024

LATE_LOOKS = 8
"""A replica that is late at every look judges at each eighth, or it would never notice anything."""


class Stalls:
    """When this replica itself did not listen. What agents said meanwhile waits in its sockets, so their silence does not count."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, float]] = deque(maxlen=STALLS_REMEMBERED)
        self._in_a_row = 0

    def look(self, now: float, late: float) -> bool:
        """A look at the agents came `late` seconds late. May they be judged? Not before one in time: what waits has been read then."""
        if late < LATE_SECONDS:
            self._in_a_row = 0
            return True
        self._past.append((now, late))
        self._in_a_row += 1
        return self._in_a_row % LATE_LOOKS == 0

    def since(self, at: float) -> float:
        """How many of the seconds since that time it did not listen."""
        seconds = 0.0
        for end, late in reversed(self._past):
            if end <= at:
                break
            seconds += min(late, end - at)
        return seconds


@dataclass(frozen=True)
class Sign:
    """What is known of one agent: for how many seconds of listening nothing was heard of it, and whether its link is open.

    `unanswered`: for so long it has left a Ping unanswered, which it gets when it holds calls and says nothing.
    """

    silence: float
    linked: bool
    unanswered: float = 0.0


def judge(sign: Sign, heartbeat: HeartbeatSpec) -> pool_pb2.Liveness:
    """One agent, by itself."""
    if sign.silence >= heartbeat.timeout_seconds:
        return pool_pb2.LIVENESS_LOST
    if not sign.linked or sign.silence >= heartbeat.interval_seconds * heartbeat.miss_threshold:
        return pool_pb2.LIVENESS_SUSPECT
    return pool_pb2.LIVENESS_LIVE


def missed(silence: float, heartbeat: HeartbeatSpec) -> int:
    """How many heartbeats in a row haven't come. One is late for half an interval before it is missed."""
    return max(0, int(silence / heartbeat.interval_seconds - LATE_BEAT))


def judge_pool(
    signs: Sequence[Sign], heartbeat: HeartbeatSpec, held_for: float, held_ago: float = math.inf
) -> tuple[list[pool_pb2.Liveness], bool]:
    """All agents of a pool. When most fall silent at once, nobody is Lost for it (the flag), for ten time-outs at most.

    They don't all come back in the same moment: the last of them have one time-out more when most are there again. `held_for`: seconds
    since the guard began to hold; 0 if it does not. `held_ago`: seconds since it held last.
    """
    verdicts = [judge(sign, heartbeat) for sign in signs]
    silent = sum(verdict != pool_pb2.LIVENESS_LIVE for verdict in verdicts)
    may_hold = held_for < GUARD_TIMEOUTS * heartbeat.timeout_seconds
    hold = len(signs) >= GUARD_CAPSULES and silent * 2 > len(signs) and may_hold
    if hold or (may_hold and held_ago < heartbeat.timeout_seconds):
        verdicts = [pool_pb2.LIVENESS_SUSPECT if verdict == pool_pb2.LIVENESS_LOST else verdict for verdict in verdicts]
    return [_doubted(verdict, sign) for verdict, sign in zip(verdicts, signs, strict=True)], hold


def _doubted(verdict: pool_pb2.Liveness, sign: Sign) -> pool_pb2.Liveness:
    """One that does not answer gets no new calls, long before its beats are missed. That alone is no reason for the guard."""
    suspect = verdict == pool_pb2.LIVENESS_LIVE and sign.unanswered >= SUSPECT_SECONDS
    return pool_pb2.LIVENESS_SUSPECT if suspect else verdict
