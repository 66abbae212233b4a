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

CHANGED = 3.0
"""So many standard deviations between the older and the newer part of a window are a change."""

STEEP = 1.5
"""So many standard deviations of a slope are a trend."""

TREND_SAMPLES = 8
"""Fewer have none."""

CLIP = 2.7
"""What differs by more than so many standard deviations isn't unsteadiness, but a change of the load."""

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


class Ticker:
    """Due every so many seconds on average, however late each look at it comes: counts of seconds that are longer would say too much."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, -math.inf

    def is_due(self, now: float) -> bool:
        """True once for each time. Of those that were missed altogether, one is left."""
        if now < self._next:
            return False
        following = self._next + self._seconds
        self._next = following if following > now else now + self._seconds
        return True


class Demand:
    """`arrived` and `served` are counts of calls, `served_seconds` the time that those served had a slot, since the replica started."""

    def __init__(self, now: float) -> None:
        self.arrived = 0
        self.served = 0
        self.served_seconds = 0.0
        self._arrivals: deque[int] = deque(maxlen=WINDOWS[-1])
        self._busy: deque[int] = deque(maxlen=BUSY_SAMPLES)
        self._load: deque[int] = deque(maxlen=LAG + 1)
        self._last = (0, 0, 0.0)
        self._without_waiting = 0
        self._bursts, self._drifts, self._loads = _Dispersion(SHORT_BIN), _Dispersion(BIN), _Dispersion(LAG)
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
        self._without_waiting = 0 if waiting else self._without_waiting + 1
        self._arrivals.append(self.arrived - arrived)
        self._compare()
        if ended := self.served - served:
            kept = math.exp(-min(ended / SERVICE_CALLS, SAMPLE_SECONDS / SERVICE_SECONDS))
            self._service_calls = self._service_calls * kept + ended
            self._service_seconds = self._service_seconds * kept + self.served_seconds - seconds
        return before != (self.arrived, self.served, busy + waiting)

    def message(self, now: float) -> fleet_pb2.Demand:
        """The demand as the operator gets it."""
        known = self._service_calls
        dispersion = self._bursts.surely
        rate = _level(list(self._arrivals), dispersion)
        drift = max(0.0, min(self._drifts.value, MOST_DISPERSION) - dispersion)
        return fleet_pb2.Demand(
            arrivals_per_second=rate / SAMPLE_SECONDS,
            dispersion=max(dispersion, self._loads.surely),
            service_seconds=self._service_seconds / known if known else self._had_for(now),
            busy_slots=_mean(list(self._busy)),
            idle_seconds=now - self._active_at,
            drift=math.sqrt(2 * drift * rate / BIN**3) / SAMPLE_SECONDS**2,
        )

    def _had_for(self, now: float) -> float:
        """How long those that run have had their slots, at least; 0 where none does: the age of a sample is nothing to go by."""
        return now - self._busy_since if self._busy and self._busy[-1] else 0.0

    def _compare(self) -> None:
        """What has come lately with what came before it. A queue says how few slots there are, and not how unsteady the load is."""
        counts = list(self._arrivals)[-2 * BIN :]
        if len(counts) < 2 * BIN or not any(counts):
            return
        self._bursts.compare(sum(counts[-2 * SHORT_BIN : -SHORT_BIN]), sum(counts[-SHORT_BIN:]))
        self._drifts.compare(sum(counts[:BIN]), sum(counts[BIN:]))
        if self._without_waiting > LAG:
            self._loads.compare(self._load[0], self._load[-1])


class _Dispersion:
    """Variance of counts by their mean, which may change: 1 for a Poisson process, more for bursts.

    It is the mean square of successive differences, each by what it would be for a Poisson process: D. W. Allan, "Statistics of Atomic
    Frequency Standards", Proceedings of the IEEE 54 (1966); of counts it is called the Allan factor. A difference that chance hardly makes
    counts as the largest that it makes: the load has changed, and what comes is no more unsteady for it.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._squares = self._looks = 0.0

    def compare(self, before: int, now: int) -> None:
        """Two neighbours of so many samples each. Where both are 0 they say nothing."""
        if total := before + now:
            kept = math.exp(-SAMPLE_SECONDS / MEMORY_SECONDS)
            self._squares = self._squares * kept + min((now - before) ** 2 / total, CLIP**2 * self.value)
            self._looks = self._looks * kept + 1

    @property
    def value(self) -> float:
        return max(1.0, self._squares / self._looks) if self._looks else 1.0

    @property
    def surely(self) -> float:
        """Without as much as a Poisson process may show by chance: the standard deviation of a mean of overlapping squares."""
        return max(1.0, self.value - math.sqrt(4 * self.samples / self._looks)) if self._looks else 1.0


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _level(counts: list[int], dispersion: float) -> float:
    """What the newest that are alike have come to.

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
    return max(0.0, _mean(newest) + _rise(newest, dispersion))


def _rise(counts: list[int], dispersion: float) -> float:
    """From their mean to their end, where they have a trend: by least squares."""
    samples = len(counts)
    if samples < TREND_SAMPLES:
        return 0.0
    middle, squares = (samples - 1) / 2, samples * (samples**2 - 1) / 12
    slope = sum((at - middle) * count for at, count in enumerate(counts)) / squares
    is_trend = abs(slope) > STEEP * math.sqrt(dispersion * _mean(counts) / squares)
    return slope * middle if is_trend else 0.0
