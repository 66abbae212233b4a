"""Which calls count against a pool's objectives (`spec.slo`), which of them were bad, and how many of both there were lately. Pure.

Whose fault each failure is, the table of errors says (`snakepit.errors.Fault`). Times are seconds, of the loop's clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from snakepit.errors import BY_REASON, DeadlineExceeded, Fault, ToolError
from snakepit.spec.fields import SloSpec
from snakepit.v1 import common_pb2, pool_pb2

HOUR = 3600.0
HOURS = 720
"""Calls of so many hours count: 30 days."""

AVAILABILITY, LATENCY = "availability", "latency"

_FAULTS = {**{reason: each.fault for reason, each in BY_REASON.items()}, ToolError.reason: ToolError.fault}
_CANCELLED = "CANCELLED"

Verdict = tuple[bool | None, bool | None]
"""Was the call served, and was it in time? None: it doesn't count."""


def judge(slo: SloSpec, reason: str, started: int, seconds: float, *, is_stream: bool) -> Verdict:
    """Of a call that ended with that reason (OK: it went well). `started`: a `Started` of the wire, of a failure.

    A caller's failure doesn't count: it says nothing about the pool. Let through by a tool, it is the author's.
    """
    limit = math.inf if is_stream else _limit(slo)
    late = seconds > limit
    served = _served(slo, reason, started, can_be_late=limit < math.inf, late=late)
    if limit == math.inf:
        return served, None
    # Who hangs up before it was to be answered has not waited for too long; who hangs up later has.
    counts = served is not None or (late and reason == _CANCELLED)
    return served, not late if counts else None


def _limit(slo: SloSpec) -> float:
    """How long a call may take."""
    return math.inf if slo.latency_milliseconds is None else slo.latency_milliseconds / 1000


def _served(slo: SloSpec, reason: str, started: int, *, can_be_late: bool, late: bool) -> bool | None:
    if reason == "OK":
        return True
    fault = _FAULTS.get(reason, Fault.PLATFORM)
    if fault is Fault.CALLER:
        if started != common_pb2.STARTED_YES or reason == _CANCELLED:
            return None
        fault = Fault.AUTHOR
    if fault is Fault.AUTHOR:
        return slo.tool_errors == "good"
    # A caller that gave the call less time than the pool promises to need.
    return None if reason == DeadlineExceeded.reason and can_be_late and not late else False


_Counts = tuple[int, int, int, int]


class Objectives:
    """A pool's, at this replica. `wall`: what to add to the loop's clock to have seconds since the epoch.

    Counts are plain numbers that only grow; what they were at the beginning of each hour says how many of them are recent.
    """

    def __init__(self, slo: SloSpec, now: float, wall: float = 0.0) -> None:
        self.slo, self._limit = slo, _limit(slo)
        self._wall = wall
        self._begin(now)

    def configure(self, slo: SloSpec, now: float) -> None:
        """Counts go on, unless calls were judged by something else until now."""
        if _way(self.slo) != _way(slo):
            self._begin(now)
        self.slo, self._limit = slo, _limit(slo)

    def _begin(self, now: float) -> None:
        self._counts = [0, 0, 0, 0]
        self._hours: deque[_Counts] = deque([(0, 0, 0, 0)], HOURS)
        self._hour_ends = now + HOUR

    def count(self, reason: str, started: int, seconds: float, now: float, *, is_stream: bool) -> None:
        """A call has been answered. On the path of each call."""
        if now >= self._hour_ends:
            self._turn(now)
        counts = self._counts
        if reason == "OK" and not is_stream:  # as `judge` would say, in a quarter of the time
            counts[0] += 1
            counts[2] += 1
            counts[3] += seconds > self._limit
            return
        served, in_time = judge(self.slo, reason, started, seconds, is_stream=is_stream)
        if served is not None:
            counts[0] += 1
            counts[1] += not served
        if in_time is not None:
            counts[2] += 1
            counts[3] += not in_time

    def totals(self) -> Iterator[tuple[str, float, int, int]]:
        """Of each objective that the spec names: its name, its target in percent, and of all calls since it is counted those that count,
        and the bad ones of them."""
        calls, bad, timed, late = self._counts
        if self.slo.availability_percent is not None:
            yield AVAILABILITY, self.slo.availability_percent, calls, bad
        if self.slo.latency_milliseconds is not None:
            yield LATENCY, self.slo.latency_percent, timed, late

    def messages(self, now: float) -> list[pool_pb2.Objective]:
        """The same of the last 30 days, for whoever asks for the pool."""
        if now >= self._hour_ends:
            self._turn(now)
        calls, bad, timed, late = self._hours[0]
        before = {AVAILABILITY: (calls, bad), LATENCY: (timed, late)}
        since = Timestamp(seconds=round(self._hour_ends - len(self._hours) * HOUR + self._wall))
        return [
            pool_pb2.Objective(name=name, target_percent=target, calls=all_ - before[name][0], bad_calls=bad - before[name][1], since=since)
            for name, target, all_, bad in self.totals()
        ]

    def _turn(self, now: float) -> None:
        """An hour is over, or several: what has been counted before the oldest one that counts does so no more."""
        over = int((now - self._hour_ends) // HOUR) + 1
        self._hour_ends += over * HOUR
        calls, bad, timed, late = self._counts
        self._hours.extend([(calls, bad, timed, late)] * min(over, HOURS))


def _way(slo: SloSpec) -> object:
    """What calls are judged by, beside how many of them may be bad."""
    return slo.latency_milliseconds, slo.tool_errors
