"""A release, scraped by a real Prometheus for a day of its life; then what harms it is staged, and whoever follows the alert finds it.

The day is `support.a_day`. To Prometheus a second is as long as a minute of the chart's rules, so that nobody waits for half an hour.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit import Client, SnakepitError
from snakepit._telemetry.metrics import COMPONENTS, rows_of
from support import a_day
from support.admin import Admin
from support.chart import CHART
from support.dev_server import wait_until
from support.go_tools import BUILD_SECONDS
from support.on_call import Finding, follow, shell_of, typed
from support.pages import blocks
from support.prometheus import Prometheus
from support.promtool import promtool
from support.scraped import KINDS, Scene, scraped_for_a_day

pytestmark = [pytest.mark.timeout(BUILD_SECONDS + 180), pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

DASHBOARDS = sorted((CHART / "files/dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scraped_for_a_day(tmp_path_factory.mktemp) as scene:
        yield scene


# ---- after the day


def test_when_the_day_is_over_nobody_is_woken_any_more(day: Scene) -> None:
    def critical() -> list[str]:
        return [name for name, each in day.prometheus.firing().items() if each["labels"]["severity"] == "critical"]

    wait_until(lambda: not critical(), "no critical alert fires")


OWN = re.compile("up|scrape_.*|ALERTS.*")
"""What Prometheus itself says of a target."""


def seen(day: Scene, component: str) -> set[str]:
    """The names of the series that have come from it."""
    job = "agents" if component == "agent" else component
    found = day.prometheus.ask("series", **{"match[]": f'{{job="{job}"}}', "start": day.began, "end": time.time()})
    return {name for each in found if not OWN.fullmatch(name := each["__name__"])}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_tells_all_that_is_documented_and_nothing_else(day: Scene, component: str) -> None:
    documented = {row.name: row.kind for row in rows_of(component)}
    endings = ("_bucket", "_count", "_sum")
    expected = {name + ending for name, kind in documented.items() for ending in (endings if kind == "histogram" else ("",))}
    assert seen(day, component) == expected


@pytest.mark.parametrize("component", COMPONENTS)
def test_promtool_finds_nothing_wrong_with_what_a_component_tells(day: Scene, component: str) -> None:
    with urllib.request.urlopen(f"http://{day.where(component)}/metrics", timeout=10) as answer:
        promtool("check", "metrics", stdin=answer.read().decode())


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    """Titles of panels, and what they ask as Grafana would: with what a reader has chosen."""
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in {"$__rate_interval": "5s", "$pool": "shop/digits", "$tool": ".*"}.items():
                query = query.replace(name, value)
            yield f"{panel['title']} {target['refId']}", query


def answers(server: Prometheus, began: float, query: str) -> bool:
    return any(value != "NaN" for each in server.since(began, query) for _, value in each["values"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_query_of_a_dashboard_has_an_answer(day: Scene, path: Path, kind: str) -> None:
    server = day.native if kind == "native" else day.prometheus
    queries = list(_queries(path))
    assert queries
    assert {title for title, query in queries if not answers(server, day.began, query)} <= LATER


LATER = {"Firing alerts A"}
"""What only a bad day has an answer for: test_workers_crash."""


def test_the_queries_of_the_page_have_answers(day: Scene) -> None:
    (block,) = blocks("docs/monitoring.md", "", "Queries of your own")
    for query in block.text.splitlines():
        assert answers(day.prometheus, day.began, query), query


def test_one_prometheus_has_classic_histograms_and_the_other_native_ones(day: Scene) -> None:
    classic, native = (f"snakepit_call_duration_seconds{ending}" for ending in ("_bucket", ""))
    assert (bool(day.prometheus.now(classic)), bool(day.prometheus.now(native))) == (True, False)
    assert (bool(day.native.now(classic)), bool(day.native.now(native))) == (False, True)


def test_an_exemplar_leads_to_the_trace_of_its_call(day: Scene) -> None:
    found = day.prometheus.exemplars(day.began, 'snakepit_call_duration_seconds_bucket{tool="add"}')
    assert day.native.exemplars(day.began, 'snakepit_call_duration_seconds{tool="add"}')
    traces = {each["labels"]["trace_id"] for each in found}
    wait_until(lambda: traces & {span.trace for span in day.collector.spans()}, "the collector has the trace of an exemplar")


# ---- incidents


def test_kubectl_takes_every_command_of_every_page(day: Scene, tmp_path: Path) -> None:
    """But for logs: there is no kubelet."""
    shell = shell_of(day, tmp_path, "shop/digits")
    shown = (line for block in blocks("docs/alerts.md", "sh") for line in block.text.splitlines())
    lines = {line for line in shown if line.startswith("kubectl ") and not line.startswith("kubectl logs ")}
    assert len(lines) > 12
    refused = {line: done.stderr for line in sorted(lines) if (done := typed(line, shell)).returncode}
    assert not refused


async def _make(day: Scene, name: str, adapter: str) -> None:
    admin = Admin(day.api, a_day.NAMESPACE)
    await admin.make_pool(name, replicas=1, worker={"adapter": adapter})
    await admin.close()


async def _delete(day: Scene, name: str) -> None:
    admin = Admin(day.api, a_day.NAMESPACE)
    await admin.delete("snakepools", name)
    await admin.close()


async def _call(day: Scene, pool: str, tool: str, times: int, **arguments: object) -> list[str]:
    """One after the other: how they fail."""
    failures: list[str] = []
    async with Client(day.release.address) as client:
        for _ in range(times):
            try:
                await client.pool(f"{a_day.NAMESPACE}/{pool}").call(tool, arguments, timeout=20)
            except SnakepitError as error:
                failures.append(error.reason)
    return failures


def test_workers_crash(day: Scene, tmp_path: Path) -> None:
    assert asyncio.run(_call(day, "digits", "exit", 12, code=9)) == ["WORKER_LOST"] * 12
    found = follow(day, "SnakepitWorkersCrashing", tmp_path)
    assert found.labels["pool"] == "shop/digits"
    later = [each for path in DASHBOARDS for each in _queries(path) if each[0] in LATER]
    assert {title for title, query in later if answers(day.prometheus, day.began, query)} == LATER
    ended, lost, _ = found.printed
    assert "exit code 9" in ended, "how they end"
    assert "exit" in lost, "the tool that does it"
    assert "WORKER_LOST" in lost


def test_a_pool_breaks_its_promise(day: Scene, tmp_path: Path) -> None:
    """It has promised 99 %."""
    assert asyncio.run(_call(day, "digits", "exit", 8, code=9)) == ["WORKER_LOST"] * 8
    found = follow(day, "SnakepitErrorBudgetBurnsFast", tmp_path)
    assert (found.labels["pool"], found.labels["objective"]) == ("shop/digits", "availability")
    described, failed, _ = found.printed
    assert re.search(r"Budget Left Percent:\s+-?\d+", described), "what is left"
    assert "WORKER_LOST" in failed, "how calls fail"


def test_a_pool_is_too_small(day: Scene, tmp_path: Path) -> None:
    """Somebody's calls take the only slot, and more come than may wait."""

    async def crowd_until_found() -> Finding:
        async with Client(day.release.address) as client:
            pool = client.pool(f"{a_day.NAMESPACE}/tiny")
            looking = asyncio.create_task(asyncio.to_thread(follow, day, "SnakepitCallsRefused", tmp_path))
            while not looking.done():
                async with a_day.crowd(pool, 0.7, 6) as calls:
                    await asyncio.gather(*calls, return_exceptions=True)
            return await looking

    found = asyncio.run(crowd_until_found())
    assert found.labels["pool"] == "shop/tiny"
    slots = found.printed[0]
    assert "1/1" in slots, "the only slot is busy"
    assert "sleep" in slots, "with this tool"


def test_a_new_version_does_not_start(day: Scene, tmp_path: Path) -> None:
    """Its setup() raises, so there is not one worker."""
    asyncio.run(_make(day, "broken", adapter="support.day_tools:Broken"))
    found = follow(day, "SnakepitPoolDown", tmp_path)
    asyncio.run(_delete(day, "broken"))
    assert found.labels["pool"] == "shop/broken"
    described, pods, examined = found.printed
    assert "SetupFailed" in described, "what the pool says of itself"
    assert "Running" in pods, "the pods are not to blame"
    assert "the model file is missing" in examined, "the error"


def test_the_store_is_away(day: Scene, tmp_path: Path) -> None:
    day.release.redis.kill()
    day.prometheus.until('snakepit_pool_condition{type="SessionStoreReady", status="False"}')
    found = follow(day, "SnakepitStoreDown", tmp_path)
    day.release.redis.start()
    redis, replica_says, pools = found.printed
    assert "No resources found" in redis, "there is no pod of Redis"
    assert "the session store is away: Error 111" in replica_says, "it is refused"
    assert "StoreUnavailable" in pools
    wait_until(lambda: "SnakepitStoreDown" not in day.prometheus.firing(), "everything goes on by itself")


def test_the_control_plane_is_down(day: Scene, tmp_path: Path) -> None:
    day.release.control_plane.end()
    found = follow(day, "SnakepitControlPlaneDown", tmp_path)
    day.release.start_control_plane()
    assert "No resources found" in found.printed[0], "there is no pod of it"
    wait_until(lambda: "SnakepitControlPlaneDown" not in day.prometheus.firing(), "it has gone when the control plane is back")
