"""Prometheus metrics of the control plane. Labels are bounded: pools that exist, tools that are offered, outcomes of the table."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from snakepit import __version__
from snakepit._names import parse_pool
from snakepit.v1 import pool_pb2

ANSWER_SECONDS = 2.0
"""A loop that gives no answer for so long does not turn: what only it can say is left out then."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


# Counts that every call adds to are plain numbers, turned into families only when somebody scrapes: the library's own take a lock for
# each of several values, a fifth of what routing a call costs. Everything that is counted less often uses them.


class Tally(Collector):
    """A counter. One thread adds; another may scrape."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._about = name, text, labels
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, *labels: str) -> None:
        """Count one more under these labels."""
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def value(self, *labels: str) -> int:
        """What has been counted under these labels."""
        return self._counts.get(labels, 0)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called by whoever scrapes."""
        name, text, labels = self._about
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count)
        yield family


class Durations(Collector):
    """A histogram of seconds by pool. `bounds`: upper bounds of its buckets, ascending; one without a bound comes after them."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._about = name, text
        self._bounds = bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: defaultdict[str, float] = defaultdict(float)
        registry.register(self)

    def observe(self, pool: str, seconds: float) -> None:
        """Count one more of the pool, of so many seconds."""
        counts = self._counts.get(pool)
        if counts is None:
            counts = self._counts[pool] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[pool] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Called by whoever scrapes."""
        name, text = self._about
        family = HistogramMetricFamily(name, text, labels=("pool",))
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for pool, counts in list(self._counts.items()):
            family.add_metric([pool], buckets=list(zip(names, accumulate(counts), strict=True)), sum_value=self._sums[pool])
        yield family


Pools = Callable[[], Iterable[tuple[pool_pb2.Pool, int]]]
"""Each pool as it is now, and how many sessions it may have."""


class PoolGauges(Collector):
    """Gauges that are read off the pools when somebody scrapes, not kept on the path of calls: in the loop, whose state they are."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pools: Pools, registry: CollectorRegistry) -> None:
        self._loop, self._pools = loop, pools
        registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Called in a thread of whoever scrapes."""
        reading = self._read()
        try:
            return asyncio.run_coroutine_threadsafe(reading, self._loop).result(ANSWER_SECONDS)
        except TimeoutError:
            return ()
        except RuntimeError:  # the loop is closed
            reading.close()
            return ()

    async def _read(self) -> list[GaugeMetricFamily]:
        depth = GaugeMetricFamily("snakepit_queue_depth", "Calls that wait at this replica.", labels=("pool",))
        slots = GaugeMetricFamily("snakepit_slots", "Slots of ready workers.", labels=("pool", "state"))
        workers = GaugeMetricFamily("snakepit_workers_ready", "Workers that may be called.", labels=("pool",))
        most_sessions = GaugeMetricFamily("snakepit_sessions_limit", "session.maxSessions.", labels=("pool",))
        sessions = GaugeMetricFamily("snakepit_sessions", "Sessions in the store.", labels=("pool",))
        text = "Sessions of all pools of a namespace."
        together = GaugeMetricFamily("snakepit_namespace_sessions", text, labels=("namespace",))
        counts: dict[str, int] = defaultdict(int)
        for pool, limit in self._pools():
            counts[parse_pool(pool.name)[0]] += pool.sessions
            depth.add_metric([pool.name], pool.queue_depth)
            slots.add_metric([pool.name, "busy"], pool.busy_slots)
            slots.add_metric([pool.name, "free"], pool.total_slots - pool.busy_slots)
            workers.add_metric([pool.name], pool.ready_workers)
            most_sessions.add_metric([pool.name], limit)
            sessions.add_metric([pool.name], pool.sessions)
        for namespace, count in counts.items():
            together.add_metric([namespace], count)
        text = "Tasks of the event loop: those of links, streams and requests."
        tasks = GaugeMetricFamily("snakepit_tasks", text, len(asyncio.all_tasks()))
        return [depth, slots, workers, most_sessions, sessions, together, tasks]


class Telemetry:
    """One registry for each server, so that two in one process (local mode, tests) don't share numbers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.calls = Tally("snakepit_calls", "Calls answered.", ("pool", "tool", "outcome"), registry)
        text = "Calls that came back from a worker before they had begun, and were placed again: recalled, refused."
        self.returned = Tally("snakepit_returned_calls", text, ("pool", "how"), registry)
        self.seconds = Durations("snakepit_call_duration_seconds", "From arrival at a replica to its answer.", _BUCKETS, registry)
        self.waits = Durations("snakepit_queue_wait_seconds", "Time in the queue of calls that left it.", _BUCKETS, registry)
        self.refusals = Counter("snakepit_refusals", "Calls that never reached a worker.", ("pool", "reason"), registry=registry)
        self.keyed = Counter(
            "snakepit_idempotent_calls",
            "Calls with an idempotency key: ran, joined, replayed, refused.",
            ("pool", "how"),
            registry=registry,
        )
        self.reruns = Counter("snakepit_reruns", "Calls sent again that may have run.", ("pool",), registry=registry)
        self.asked = Counter("snakepit_client_tool_calls", "Calls of workers to tools of clients.", ("pool", "outcome"), registry=registry)
        self.restarts = Counter("snakepit_worker_restarts", "Lives of workers that ended.", ("pool", "reason"), registry=registry)
        self.recycles = Counter(
            "snakepit_worker_recycles",
            "Workers whose place a successor took: age, calls, memory, asked, session.",
            ("pool", "reason"),
            registry=registry,
        )
        self.lost = Counter("snakepit_capsules_lost", "Agents declared lost by this replica.", ("pool",), registry=registry)
        self.missed = Counter("snakepit_heartbeats_missed", "Agents that turned Suspect.", ("pool",), registry=registry)
        self.store_seconds = Histogram("snakepit_store_seconds", "Time of a round trip to the store.", registry=registry, buckets=_BUCKETS)
        self.links = Gauge("snakepit_links", "Open links, and what their frames take.", ("role", "way"), registry=registry)
        Info("snakepit_build", "What runs here.", registry=registry).info({"version": __version__})

    def application(self) -> Callable[..., Any]:
        """Answers a scrape, by WSGI, in whatever form of Prometheus' it asks for."""
        return make_wsgi_app(self.registry)
