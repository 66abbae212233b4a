"""What the calls of a pool ask for, at this replica: how many come, how long they have a slot, how many slots they have. Pure.

The counts grow on the path of calls; what they mean is worked out once a second, off it.
"""

from __future__ import annotations

import math
from collections import deque

from snakepit.v1 import fleet_pb2

SAMPLE_SECONDS = 1.0
WINDOWS = (2, 4, 8, 15, 30, 60, 120)
"""A rate is its mean over the longest of these, in samples, in which it hasn't changed: a rise is seen soon, and noise isn't one."""

CHANGED = 2.7
"""So many standard deviations between the older and the newer part of a window are a change."""

BUSY_SAMPLES = 5
LAG = 10
"""Samples from which on the load is compared with itself: about what a capsule takes to get warm."""

SHORT_BIN, BIN = 8, 15
"""So many samples are added up, and compared with those before. The short bins show bursts; what the long ones show beyond is drift."""

MOST_DISPERSION = 15.0
"""Beyond, it isn't drift any more: the load comes and goes, and what has gone is no reason for more."""

MEMORY_SECONDS = 1800.0
"""How unsteady the arrivals are is remembered for so long; while there are none, it is kept."""

SERVICE_CALLS = 100
SERVICE_SECONDS = 300.0
"""How long calls take is remembered for so many of them and for so long, whichever is longer; and while there are none."""


class Demand:
    """`arrived` and `served` are counts of calls, `served_seconds` the time that those served had a slot, since the replica started."""

    def __init__(self, now: float) -> None:
        self.arrived = 0
        self.served = 0
        self.served_seconds = 0.0
        self._arrivals: deque[int] = deque(maxlen=WINDOWS[-1])
        self._busy: deque[int] = deque(maxlen=BUSY_SAMPLES)
        self._load: deque[int] = deque(maxlen=LAG + 1)
        self._looks = self._loads = self._moves = 0.0
        self._last = (0, 0, 0.0)
        self._remembered = self._changes = self._drifts = 0.0
        self._service_calls = self._service_seconds = 0.0
        self._active_at = self._busy_since = now

    def serve(self, seconds: float) -> None:
        """A call has had a slot for so long."""
        self.served += 1
        self.served_seconds += seconds

    def sample(self, now: float, busy: int, waiting: int) -> bool:
        """Whether anything has come or gone since the last one. To be called every SAMPLE_SECONDS.

        `busy`: slots that are taken now, `waiting`: calls in the queue.
        """
        arrived, served, seconds = self._last
        before = (arrived, served, self._load[-1] if self._load else 0)
        self._last = (self.arrived, self.served, self.served_seconds)
        if busy or waiting or self.arrived > arrived:
            self._active_at = now
        if not busy:
            self._busy_since = now
        self._busy.append(busy)
        self._load.append(busy + waiting)
        self._arrivals.append(self.arrived - arrived)
        self._remember_arrivals()
        if ended := self.served - served:
            kept = math.exp(-min(ended / SERVICE_CALLS, SAMPLE_SECONDS / SERVICE_SECONDS))
            self._service_calls = self._service_calls * kept + ended
            self._service_seconds = self._service_seconds * kept + self.served_seconds - seconds
        return before != (self.arrived, self.served, busy + waiting)

    def message(self, now: float) -> fleet_pb2.Demand:
        """The demand as the operator gets it."""
        known = self._service_calls
        dispersion = _dispersion(self._changes, self._remembered)
        rate = _level(list(self._arrivals), dispersion)
        drift = max(0.0, min(_dispersion(self._drifts, self._remembered), MOST_DISPERSION) - dispersion)
        return fleet_pb2.Demand(
            arrivals_per_second=rate / SAMPLE_SECONDS,
            dispersion=max(dispersion, self._load_dispersion()),
            service_seconds=self._service_seconds / known if known else self._had_for(now),
            busy_slots=_mean(list(self._busy)),
            idle_seconds=now - self._active_at,
            drift=math.sqrt(2 * drift * rate / BIN**3) / SAMPLE_SECONDS**2,
        )

    def _had_for(self, now: float) -> float:
        """How long those that run have had their slots, at least; 0 where none does: the age of a sample is nothing to go by."""
        return now - self._busy_since if self._busy and self._busy[-1] else 0.0

    def _remember_arrivals(self) -> None:
        """Sums over time, of which the older part counts less and less: arrivals, and the squares of their differences."""
        counts = list(self._arrivals)[-2 * BIN :]
        if len(counts) < 2 * BIN or not any(counts):
            return
        kept = math.exp(-SAMPLE_SECONDS / MEMORY_SECONDS)
        self._remembered = self._remembered * kept + counts[-1]
        self._changes = self._changes * kept + _change(counts, SHORT_BIN)
        self._drifts = self._drifts * kept + _change(counts, BIN)
        self._looks = self._looks * kept + 1
        self._loads = self._loads * kept + self._load[-1]
        self._moves = self._moves * kept + abs(self._load[-1] - self._load[0])

    def _load_dispersion(self) -> float:
        """The same of what runs and waits, where it is more, as with bursts of long calls among many short ones.

        It is from the mean absolute difference, as that of a normal distribution: a load that comes and goes now and then isn't dispersion.
        """
        return max(1.0, math.pi / 4 * self._moves**2 / self._looks / self._loads) if self._loads else 1.0


def _dispersion(squares: float, mean: float) -> float:
    """Variance of the arrivals by their mean: 1 for a Poisson process, more for bursts.

    It is half the mean square of successive differences, so that the mean may change: D. W. Allan, "Statistics of Atomic Frequency
    Standards", Proceedings of the IEEE 54 (1966); of counts it is called the Allan factor.
    """
    return max(1.0, squares / 2 / mean) if mean else 1.0


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _change(counts: list[int], size: int) -> float:
    """From the last bin but one to the last, squared, for each of the bin's samples."""
    return (sum(counts[-size:]) - sum(counts[-2 * size : -size])) ** 2 / size


def _level(counts: list[int], dispersion: float) -> float:
    """The mean of the newest that are alike.

    After A. Bifet and R. Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SIAM Conference on Data Mining 2007.
    """
    newest = counts[-WINDOWS[0] :]
    for window in WINDOWS[1:]:
        longer = counts[-window:]
        older = longer[: -len(newest)]
        if not older:
            break
        variance = dispersion * max(_mean(longer), 1 / window)
        if abs(_mean(older) - _mean(newest)) > CHANGED * math.sqrt(variance * (1 / len(older) + 1 / len(newest))):
            break
        newest = longer
    return _mean(newest)
