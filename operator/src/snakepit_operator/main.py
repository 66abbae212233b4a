"""The operator's process: settings, the lease, and the controller for as long as the lease is ours."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import logging
from pathlib import Path

from snakepit._interpreter import leave_out_of_collections, let_the_loop_go_first, when_stopped
from snakepit._telemetry.logs import configure_logging, fail
from snakepit._telemetry.metrics import otlp
from snakepit._telemetry.metrics_server import MetricsServer
from snakepit._wire.health import HealthServer
from snakepit.spec.status import SnakePoolStatus
from snakepit_operator.controller import Controller
from snakepit_operator.external_scaler import ExternalScaler
from snakepit_operator.kube import Kube
from snakepit_operator.leases import Election
from snakepit_operator.metrics_api import MetricsApi
from snakepit_operator.pools import Pools
from snakepit_operator.settings import Settings, load
from snakepit_operator.telemetry import Telemetry

STALE_SECONDS = 120.0
"""Without a round of the leader's loop for this long, the liveness probe fails and the kubelet restarts us."""

HEALTH_SECONDS = 1.0
"""What the kubelet is told is at most this old."""

log = logging.getLogger(__name__)


class Operator:
    """Leads whenever it can."""

    def __init__(self, kube: Kube, settings: Settings, telemetry: Telemetry | None = None) -> None:
        self._kube, self._telemetry = kube, telemetry or Telemetry()
        self._settings = settings
        self._election = Election(kube, settings.namespace, settings.lease_name, settings.identity)
        self._controller: Controller | None = None

    @property
    def leads(self) -> bool:
        """Does it look after pools now?"""
        return self._controller is not None

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or stand by until `stop` is set. Raises OSError when a port is taken."""
        health, metrics = HealthServer(self._settings.health), MetricsServer(self._telemetry.registry.application())
        push = otlp.begin(self._telemetry.registry, "snakepit-operator")
        self._telemetry.watch(asyncio.get_running_loop(), lambda: self.leads, self._waiting, self._statuses)
        await health.start()
        try:
            if self._settings.metrics:
                metrics.listen(self._settings.metrics, "SNAKEPIT_METRICS_LISTEN")
            async with asyncio.TaskGroup() as tasks:  # None ends but by a fault of ours: the kubelet starts us again.
                work = {"election": self._election.run(), "lead": self._lead_forever(), "health": self._tell_health(health)}
                pools = Pools(self._kube, self._settings.watch_namespaces)
                if self._settings.metrics_api:
                    folder = Path(self._settings.metrics_api_certificates)
                    work["metrics API"] = MetricsApi(self._kube, pools, self._settings.metrics_api, folder).run()
                if self._settings.keda:
                    work["KEDA"] = ExternalScaler(pools, self._settings.keda).run()
                if self._settings.metrics_api or self._settings.keda:
                    work["pools"] = pools.run()
                running = [tasks.create_task(each, name=name) for name, each in work.items()]
                await stop.wait()
                for task in running:
                    task.cancel()
        finally:
            await self._election.resign()
            await asyncio.gather(metrics.stop(), push.stop())
            await health.stop()

    def _waiting(self) -> int:
        return self._controller.waiting if self._controller is not None else 0

    def _statuses(self) -> dict[str, SnakePoolStatus]:
        """Who does not lead knows nothing of pools."""
        return self._controller.reconciler.statuses() if self._controller is not None else {}

    async def _lead_forever(self) -> None:
        while True:
            await self._election.leading.wait()
            self._controller = Controller(self._kube, self._settings, telemetry=self._telemetry)
            try:
                async with asyncio.TaskGroup() as tasks:
                    reign = tasks.create_task(self._controller.run(), name="controller")
                    await self._election.lost.wait()
                    reign.cancel()
            finally:
                self._controller = None

    async def _tell_health(self, health: HealthServer) -> None:
        """A follower is ready too: it can take over."""
        was_alive = True
        while True:
            age = asyncio.get_running_loop().time() - self._controller.beat if self._controller else 0.0
            alive = age <= STALE_SECONDS
            if was_alive and not alive:
                log.error("the loop has not come round for %.0f s: the kubelet is told to start this container again", age)
            was_alive = alive
            await health.set_alive(alive)
            await health.set_ready(alive)
            await asyncio.sleep(HEALTH_SECONDS)


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    when_stopped(stop.set)
    telemetry = Telemetry()
    kube = await Kube.connect(telemetry.requested)
    try:
        await Operator(kube, settings, telemetry).run(stop)
    finally:
        await kube.close()


def main() -> None:
    """The program `snakepit-operator`."""
    try:
        configure_logging("operator")
        settings = load()
    except ValueError as error:
        fail(str(error))
    for name in ("kopf", "aiohttp"):
        logging.getLogger(name).setLevel(logging.ERROR)
    let_the_loop_go_first()
    leave_out_of_collections()
    asyncio.run(_run(settings))
