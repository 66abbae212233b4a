"""What an operator counts, in instruments made of the table of metrics (`snakepit._telemetry.metrics.operator`).

Labels are bounded: pools that exist, conditions and verbs that there are, kinds of objects that `kube` asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from snakepit._telemetry.metrics import operator as rows
from snakepit._telemetry.metrics.instruments import Reading, Registry
from snakepit.spec.status import SnakePoolStatus
from snakepit_operator.model import Plan

STATUSES = ("True", "False", "Unknown")
OK, CONFLICT, ERROR = "ok", "conflict", "error"
"""How a look at a pool ends. A conflict: somebody has written what we were about to, and it is looked at again."""

Pools = Callable[[], Mapping[str, SnakePoolStatus]]
"""Of each pool that is ours, the status that was written last."""


class Telemetry:
    """One for each operator, so that two in one process (tests) don't share numbers."""

    def __init__(self) -> None:
        self.registry = registry = Registry("operator")
        self._looks = registry.counter(rows.RECONCILES)
        self._look_seconds = registry.histogram(rows.RECONCILE_DURATION)
        self._planned = registry.counter(rows.PLANNED)
        self._requests = registry.counter(rows.API_REQUESTS)
        self._request_seconds = registry.histogram(rows.API_DURATION)

    def looked(self, outcome: str, seconds: float) -> None:
        """A look at a pool is over. `outcome`: OK, CONFLICT or ERROR."""
        self._looks.add(outcome)
        self._look_seconds.observe(seconds)

    def decided(self, plan: Plan) -> None:
        """So much is to be done about a pool."""
        for action, count in (("create", len(plan.creations)), ("delete", len(plan.deletions))):
            if count:
                self._planned.add(action, by=count)

    def requested(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """The API server has answered; `code` 0: it has not."""
        self._requests.add(verb, resource, str(code) if code else "none")
        self._request_seconds.observe(seconds, verb, resource)

    def watch(self, loop: asyncio.AbstractEventLoop, leads: Callable[[], bool], waiting: Callable[[], int], pools: Pools) -> None:
        """Tell of these, as they are at each scrape."""

        def read() -> Iterator[Reading]:
            yield rows.LEADER, (), leads()
            yield rows.OPERATOR_QUEUE, (), waiting()
            for name, status in pools().items():
                yield from pool_readings(name, status)

        gauges = (rows.LEADER, rows.OPERATOR_QUEUE, rows.CONDITION, rows.POOL_CAPSULES, rows.POOL_DESIRED)
        self.registry.read(loop, gauges, read)


def pool_readings(name: str, status: SnakePoolStatus) -> Iterable[Reading]:
    """What a status says in numbers; what it doesn't know is left out."""
    for condition in status.conditions:
        for each in STATUSES:
            yield rows.CONDITION, (name, condition.type, each), condition.status == each
    counts = {
        "all": status.replicas,
        "ready": status.ready_replicas,
        "updated": status.updated_replicas,
        "available": status.available_replicas,
        "outdated": status.outdated_replicas,
    }
    for state, count in counts.items():
        if count is not None:
            yield rows.POOL_CAPSULES, (name, state), count
    if status.desired_replicas is not None:
        yield rows.POOL_DESIRED, (name,), status.desired_replicas
