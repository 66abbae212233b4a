"""What the calls of a pool ask for, at this replica: how many come, how long they have a slot, how many slots they have. Pure.

The counts grow on the path of calls; what they mean is worked out once a second, off it.
"""

from __future__ import annotations

from collections import deque

from snakepit.v1 import fleet_pb2

SAMPLE_SECONDS = 1.0
FAST_SAMPLES = 5
SLOW_SAMPLES = 60
"""A rate is the higher of its means over these: a rise is seen soon, and a pause is not taken for the end."""


class Demand:
    """`arrived` and `served` are counts of calls, `served_seconds` the time that those served had a slot, since the replica started."""

    def __init__(self, now: float) -> None:
        self.arrived = 0
        self.served = 0
        self.served_seconds = 0.0
        self._samples: deque[tuple[float, int, int, float, int]] = deque([(now, 0, 0, 0.0, 0)], maxlen=SLOW_SAMPLES + 1)
        self._service_seconds = 0.0
        self._active_at = now

    def serve(self, seconds: float) -> None:
        """A call has had a slot for so long."""
        self.served += 1
        self.served_seconds += seconds

    def sample(self, now: float, busy: int, waiting: int) -> None:
        """To be called every SAMPLE_SECONDS. `busy`: slots that are taken now, `waiting`: calls in the queue."""
        last = self._samples[-1]
        if busy or waiting or self.arrived > last[1]:
            self._active_at = now
        self._samples.append((now, self.arrived, self.served, self.served_seconds, busy))
        _, _, served, seconds, _ = self._samples[0]
        if self.served > served:
            self._service_seconds = (self.served_seconds - seconds) / (self.served - served)

    def message(self, now: float) -> fleet_pb2.Demand:
        """The demand as the operator gets it."""
        arrivals = [new[1] - old[1] for old, new in zip(self._samples, list(self._samples)[1:], strict=False)]
        busy = [sample[4] for sample in self._samples][1:]
        return fleet_pb2.Demand(
            arrivals_per_second=max(_mean(arrivals[-FAST_SAMPLES:]), _mean(arrivals)) / SAMPLE_SECONDS,
            dispersion=_dispersion(arrivals),
            service_seconds=self._service_seconds,
            busy_slots=max(_mean(busy[-FAST_SAMPLES:]), _mean(busy)),
            idle_seconds=now - self._active_at,
        )


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _dispersion(counts: list[int]) -> float:
    """Variance by mean: 1 for a Poisson process, more for bursts."""
    mean = _mean(counts)
    return sum((count - mean) ** 2 for count in counts) / len(counts) / mean if mean else 1.0
