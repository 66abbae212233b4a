"""The operator's process: settings, the lease, and the controller for as long as the lease is ours."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time

from snakepit._telemetry.logs import configure_logging
from snakepit_operator.controller import Controller
from snakepit_operator.election import Election
from snakepit_operator.http import Probes
from snakepit_operator.kube import Kube
from snakepit_operator.settings import InvalidSettings, Settings, load

STALE_SECONDS = 120.0
"""Without a round of the leader's loop for this long, /livez fails and the kubelet restarts us."""

log = logging.getLogger(__name__)


class Operator:
    """Leads whenever it can."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self._kube = kube
        self._settings = settings
        self._election = Election(kube, settings.namespace, settings.lease_name, settings.identity)
        self._controller: Controller | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises OSError when the port is taken."""
        probes = Probes(self._settings.http_host, self._settings.http_port, self.livez, self.readyz)
        await probes.start()
        tasks = [asyncio.create_task(self._election.run(), name="election"), asyncio.create_task(self._lead_forever(), name="lead")]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # neither ends but by a fault of ours: say so and let the kubelet start us again
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)
            await self._election.resign()
            await probes.stop()

    async def _lead_forever(self) -> None:
        while True:
            await self._election.leading.wait()
            await self._lead()

    async def _lead(self) -> None:
        """One reign."""
        self._controller = Controller(self._kube, self._settings)
        reign = asyncio.create_task(self._controller.run(), name="controller")
        over = asyncio.create_task(self._election.lost.wait(), name="lost")
        try:
            await asyncio.wait([reign, over], return_when=asyncio.FIRST_COMPLETED)
            if reign.done():
                reign.result()
        finally:
            reign.cancel()
            over.cancel()
            await asyncio.gather(reign, over, return_exceptions=True)
            self._controller = None

    def livez(self) -> str:
        """Empty, or what is stale."""
        controller = self._controller
        age = time.monotonic() - controller.beat if controller else 0.0
        return f"the loop has not come round for {age:.0f} s" if age > STALE_SECONDS else ""

    def readyz(self) -> str:
        """A follower is ready too: it can take over."""
        return self.livez()


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    kube = await Kube.connect()
    try:
        await Operator(kube, settings).run(stop)
    finally:
        await kube.close()


def main() -> None:
    """The program `snakepit-operator`."""
    try:
        configure_logging("operator")
        settings = load()
    except (InvalidSettings, ValueError) as error:
        sys.exit(str(error))
    for name in ("kopf", "aiohttp"):
        logging.getLogger(name).setLevel(logging.ERROR)
    asyncio.run(_run(settings))
