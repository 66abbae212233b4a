"""Prometheus metrics of the control plane. Labels are bounded: pools that exist, tools that are offered, outcomes of the table."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from snakepit_control_plane.tallies import Durations, Tally

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Telemetry:
    """One registry for each server, so that two in one process (local mode, tests) don't share numbers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.calls = Tally("snakepit_calls", "Calls answered.", ("pool", "tool", "outcome"), registry)
        self.seconds = Durations("snakepit_call_duration_seconds", "From arrival at the router to its answer.", _BUCKETS, registry)
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
        self.lost = Counter("snakepit_capsules_lost", "Agents declared lost by this replica.", ("pool",), registry=registry)
        self.missed = Counter("snakepit_heartbeats_missed", "Agents that turned Suspect.", ("pool",), registry=registry)
        self.depth = Gauge("snakepit_queue_depth", "Calls that wait at this replica.", ("pool",), registry=registry)
        self.slots = Gauge("snakepit_slots", "Slots of ready workers.", ("pool", "state"), registry=registry)
        self.workers = Gauge("snakepit_workers_ready", "Workers that may be called.", ("pool",), registry=registry)
        self.sessions = Gauge("snakepit_sessions", "Sessions in the store.", ("pool",), registry=registry)
        self.store_seconds = Histogram("snakepit_store_seconds", "Time of a round trip to the store.", registry=registry, buckets=_BUCKETS)
        self.links = Gauge("snakepit_links", "Open links.", ("role",), registry=registry)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)
