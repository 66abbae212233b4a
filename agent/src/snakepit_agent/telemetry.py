"""What an agent counts, in instruments made of the table of metrics (`snakepit._telemetry.metrics.agent`). Few: every pod has an agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from snakepit._telemetry.metrics import agent as rows
from snakepit._telemetry.metrics.instruments import Reading, Registry
from snakepit_agent.model.seats import Seat
from snakepit_agent.model.slots import WorkerSlots


class Telemetry:
    """Of one capsule of a pool (`namespace/name`)."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.registry = registry = Registry("agent")
        self._setups = registry.histogram(rows.WORKER_SETUP)
        self._starts = registry.counter(rows.WORKER_STARTS)

    def became_ready(self, seconds: float) -> None:
        """A worker serves, after a `setup()` of so many seconds."""
        self._starts.add(self._pool, rows.READY)
        self._setups.observe(seconds, self._pool)

    def did_not_start(self, reason: str) -> None:
        """A worker has ended before it served."""
        self._starts.add(self._pool, reason)

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        slots: Callable[[], Iterable[WorkerSlots]],
        seats: Callable[[], Iterable[Seat]],
        links: Callable[[], int],
    ) -> None:
        """Tell of these, as they are at each scrape."""

        def read() -> Iterator[Reading]:
            yield rows.AGENT_LINKS, (self._pool,), links()
            yield from call_readings(self._pool, list(slots()))
            yield from memory_readings(self._pool, seats())

        self.registry.read(loop, (rows.AGENT_LINKS, rows.AGENT_CALLS, rows.INBOX_DEPTH, rows.WORKER_MEMORY), read)


def call_readings(pool: str, workers: Iterable[WorkerSlots]) -> Iterator[Reading]:
    """Calls with a slot, and those behind them."""
    held = running = 0
    for worker in workers:
        held += len(worker.held)
        running += min(len(worker.held), worker.slots)
    yield rows.AGENT_CALLS, (pool,), running
    yield rows.INBOX_DEPTH, (pool,), held - running


def memory_readings(pool: str, seats: Iterable[Seat]) -> Iterator[Reading]:
    """Where it is known; two processes of an index, while one takes the other's place, count together."""
    found: Counter[int] = Counter()
    for seat in seats:
        if seat.has_process and seat.rss_bytes:
            found[seat.index] += seat.rss_bytes
    for index, size in found.items():
        yield rows.WORKER_MEMORY, (pool, str(index)), size
