"""A release that two Prometheus have scraped for a day of its life: one takes classic histograms, one native ones.

Both have the alerts of the chart, as helm makes them; the classic one tells an Alertmanager.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from snakepit import Client

from . import a_day
from .admin import Admin, equipped
from .alertmanager import Alertmanager, alertmanager
from .api_server import ApiServer
from .chart import rendered
from .collector import Collector, collecting
from .go_tools import go_tool
from .prometheus import Alerting, Prometheus, Targets, prometheus
from .release import Kubelet, Release, release

KINDS = ("classic", "native")
RUNBOOKS = "https://wiki.example.com/snakepit/alerts.html"
"""Where this release's pages are served."""


class Scene(NamedTuple):
    api: ApiServer
    release: Release
    kubelet: Kubelet
    prometheus: Prometheus
    native: Prometheus
    """Another one, which takes native histograms."""
    alertmanager: Alertmanager
    """Whom the first one tells."""
    collector: Collector
    began: float

    def where(self, component: str) -> str:
        """It is scraped there."""
        if component == "agent":
            return f"127.0.0.1:{next(iter(self.kubelet.capsules.values())).metrics}"
        return self.release.metrics[component]


@contextlib.contextmanager
def scraped_for_a_day(folder: Callable[[str], Path]) -> Iterator[Scene]:
    """The day has passed by, and everything runs. `folder` makes one of that name."""
    with equipped(folder("api-server")) as api, collecting(folder("collector")) as collector:
        asyncio.run(_found(api))
        with release(api, a_day.NAMESPACE, traces=collector.endpoint) as (made, kubelet), contextlib.ExitStack() as scraping:
            jobs = {name: [address] for name, address in made.metrics.items()}
            told = scraping.enter_context(alertmanager(folder("alertmanager"), a_day.NAMESPACE))
            alerting = {"classic": Alerting(_rules(), told.address), "native": Alerting(_rules())}
            classic, native = (
                scraping.enter_context(prometheus(folder(kind), Targets(jobs, kubelet.targets), alerting[kind], native=kind == "native"))
                for kind in KINDS
            )
            began = time.time()
            asyncio.run(_live(made, kubelet, api, Watch(kubelet, len(jobs), [classic, native])))
            for each in (classic, native):
                each.until(f"min(timestamp(up) and (up == 1)) > {time.time()}")
            yield Scene(api, made, kubelet, classic, native, told, collector, began)


def _rules() -> Mapping[str, Any]:
    """Of the chart's PrometheusRule."""
    values = ("gateway.enabled=true", "metrics.prometheusRule.enabled=true", f"metrics.prometheusRule.runbooks={RUNBOOKS}")
    (made,) = rendered(go_tool("helm"), *values).of("PrometheusRule")
    return dict(made["spec"])


class Watch:
    """Both of them, as the day sees them; besides the capsules there are so many programs."""

    def __init__(self, kubelet: Kubelet, programs: int, servers: list[Prometheus]) -> None:
        self._kubelet, self._programs, self._servers = kubelet, programs, servers

    async def look(self) -> None:
        """Prometheus takes up to 5 s until it knows new targets."""
        now, targets = time.time(), self._programs + len(self._kubelet.capsules)
        for each in self._servers:
            await asyncio.to_thread(each.until, f"count((up == 1) and (timestamp(up) > {now})) == {targets}")

    async def saw(self, histogram: str) -> bool:
        """In a window that is shorter than the panels', as those are asked at whole seconds."""
        classic, native = f"rate({histogram}_count[3s])", f"histogram_count(rate({histogram}[3s]))"
        found = [await asyncio.to_thread(each.now, f"sum({classic}) > 0 or sum({native}) > 0") for each in self._servers]
        return all(found)


async def _found(api: ApiServer) -> None:
    admin = Admin(api, a_day.NAMESPACE)
    await admin.make_namespace()
    await a_day.make(admin)
    await admin.close()


async def _live(made: Release, kubelet: Kubelet, api: ApiServer, watch: Watch) -> None:
    admin = Admin(api, a_day.NAMESPACE)
    async with Client(made.address) as client:
        await a_day.Day(made, kubelet, admin, client, watch).pass_by()
    await admin.close()
