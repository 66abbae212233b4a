"""A release, scraped by a real Prometheus for a day of its life; then what harms it is staged, an Alertmanager tells of it, and whoever
follows the alert finds the cause.

The day is `support.a_day`. To Prometheus a second is as long as a minute of the chart's rules, so that nobody waits for half an hour.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from snakepit import Client
from snakepit._telemetry.metrics import COMPONENTS, rows_of
from support import a_day
from support.admin import Admin
from support.chart import CHART
from support.dev_server import wait_until
from support.go_tools import BUILD_SECONDS
from support.incidents import SESSIONS, Findings, Incidents
from support.on_call import follow, shell_of, told, typed
from support.pages import blocks
from support.prometheus import Prometheus
from support.promtool import alerts, promtool
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
        return [each["labels"]["alertname"] for each in day.prometheus.firing() if each["labels"]["severity"] == "critical"]

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


def labels_of(day: Scene, component: str, name: str) -> set[str]:
    """Those of all its series, but for a target's own and a bucket's."""
    job = "agents" if component == "agent" else component
    match = f'{{__name__=~"{name}(_bucket)?", job="{job}"}}'
    found = day.prometheus.ask("series", **{"match[]": match, "start": day.began, "end": time.time()})
    return {label for each in found for label in each} - {"__name__", "job", "instance", "capsule", "le"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_a_component_tells_has_the_labels_that_are_documented(day: Scene, component: str) -> None:
    assert {row.name: labels_of(day, component, row.name) for row in rows_of(component)} == {
        row.name: set(row.labels) for row in rows_of(component)
    }


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


Stage = Callable[[Incidents], Awaitable[Findings]]


@pytest.fixture(scope="module")
def staged(day: Scene, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Stage], Findings]:
    """What whoever is on call finds in an incident."""

    async def run(stage: Stage) -> Findings:
        admin = Admin(day.api, a_day.NAMESPACE)
        async with Client(day.release.address) as client:
            incidents = Incidents(day, admin, client, tmp_path_factory.mktemp)
            try:
                return await stage(incidents)
            finally:
                incidents.end()
                await admin.close()

    return lambda stage: asyncio.run(run(stage))


@pytest.fixture(scope="module")
def harmed_pools(staged: Callable[[Stage], Findings]) -> Findings:
    return staged(Incidents.at_pools)


def test_workers_crash(day: Scene, harmed_pools: Findings) -> None:
    ended, lost, _ = harmed_pools["SnakepitWorkersCrashing"].printed
    later = [each for path in DASHBOARDS for each in _queries(path) if each[0] in LATER]
    assert {title for title, query in later if answers(day.prometheus, day.began, query)} == LATER
    assert "exit code 9" in ended, "how they end"
    assert "exit" in lost, "the tool that does it"
    assert "WORKER_LOST" in lost
    which, lost, _ = harmed_pools["SnakepitCallsFailing"].printed
    assert "WORKER_LOST" in which, "the reason"
    assert "exit" in lost


def test_strict_sessions_lose_their_workers(harmed_pools: Findings) -> None:
    ended, which = harmed_pools["SnakepitSessionsLost"].printed
    assert "exit code 9" in ended
    assert "strict-0" in which


def test_a_pool_breaks_its_promise(harmed_pools: Findings) -> None:
    """It has promised 99 %."""
    found, slowly = (harmed_pools[f"SnakepitErrorBudgetBurns{how}"] for how in ("Fast", "Slowly"))
    assert found.labels["objective"] == slowly.labels["objective"] == "availability"
    assert "WORKER_LOST" in slowly.printed[0], "which failures"
    described, failed, _ = found.printed
    assert re.search(r"Budget Left Percent:\s+-?\d+", described), "what is left"
    assert "WORKER_LOST" in failed, "how calls fail"


def test_a_pool_is_too_small(harmed_pools: Findings) -> None:
    """Somebody's calls take the only slot, and more come than may wait."""
    for alert in ("SnakepitCallsRefused", "SnakepitPoolSaturated"):
        slots = harmed_pools[alert].printed[0]
        assert "1/1" in slots, "the only slot is busy"
        assert "sleep" in slots, "with this tool"


def test_a_tool_hangs(harmed_pools: Findings) -> None:
    late, _, _ = harmed_pools["SnakepitDeadlinesExceeded"].printed
    assert "sleep" in late, "which tool"
    assert "DEADLINE" in late


def test_a_new_version_does_not_start(harmed_pools: Findings) -> None:
    """Its setup() raises, so there is not one worker."""
    described, pods, examined = harmed_pools["SnakepitPoolDown"].printed
    assert "SetupFailed" in described, "what the pool says of itself"
    assert "Running" in pods, "the pods are not to blame"
    assert "the model file is missing" in examined, "the error"
    which, calls, _ = harmed_pools["SnakepitGatewayErrors"].printed
    (failed,) = [each["metric"] for each in json.loads(which)[0]]
    assert failed == {"http_route": "/v1/pools/{namespace}/{pool}/tools/{tool}", "error_type": "503"}, "of which route and status"
    assert "POOL_NOT_READY" in calls, "callers by HTTP fail, as do others: it is the pool's alert that matters"
    described, examined = harmed_pools["SnakepitPoolDegraded"].printed
    assert "SetupFailed" in described
    assert "the model file is missing" in examined


def test_sessions_fill_a_pool_up(harmed_pools: Findings) -> None:
    listed, whose = harmed_pools["SnakepitSessionsNearlyFull"].printed
    assert listed.count("guest-") == whose.count("guest-") == SESSIONS
    assert "OWNER" in whose


def test_capsules_fall_silent(harmed_pools: Findings) -> None:
    nodes, silent, _ = harmed_pools["SnakepitCapsulesLost"].printed
    assert "silent-" in nodes, "which pods, on which nodes"
    assert "ready" not in silent.replace("STATE", ""), "nobody answers"


@pytest.fixture(scope="module")
def harmed_components(staged: Callable[[Stage], Findings]) -> Findings:
    return staged(Incidents.at_components)


def test_operator_and_gateway_are_down(harmed_components: Findings) -> None:
    assert "No resources found" in harmed_components["SnakepitGatewayDown"].printed[0], "there is no pod of it"
    is_there, lease = harmed_components["SnakepitOperatorDown"].printed
    assert "No resources found" in is_there
    assert re.search(r"Holder Identity:\s+operator", lease)


def test_the_store_is_slow_and_the_operator_is_refused(staged: Callable[[Stage], Findings]) -> None:
    found = staged(Incidents.with_a_slow_store_and_an_operator_without_rights)
    assert found["SnakepitStoreSlow"].labels["severity"] == "warning"
    refused, right = found["SnakepitOperatorFailing"].printed
    assert "snakepools/status" in refused, "what is refused"
    assert f"reconciling {a_day.NAMESPACE}/tiny" in refused, "for which pool"
    assert right.split() == ["no"]


def test_a_replica_has_more_calls_than_its_event_loop_can_do(harmed_components: Findings) -> None:
    full, waits, called, whose = harmed_components["SnakepitControlPlaneSaturated"].printed
    assert [float(each["value"][1]) > 0.5 for each in json.loads(full)[0]] == [True], "its one replica is full"
    assert [float(each["value"][1]) >= 0.0 for each in json.loads(waits)[0]] == [True], "how much of that it waits for a processor"
    most = json.loads(called)[0][0]["metric"]
    assert (most["pool"], most["tool"]) == (f"{a_day.NAMESPACE}/digits", "add"), "what is called so often"
    assert whose.count("add") > 10, "whose calls they are"


def test_the_store_is_away(day: Scene, tmp_path: Path) -> None:
    day.release.redis.kill()
    day.prometheus.until('snakepit_pool_condition{type="SessionStoreReady", status="False"}')
    found = follow(day, told(day, "SnakepitStoreDown"), tmp_path)
    day.release.redis.start()
    redis, replica_says, pools = found.printed
    assert "No resources found" in redis, "there is no pod of Redis"
    assert "the session store is away: Error 111" in replica_says, "it is refused"
    assert "StoreUnavailable" in pools
    wait_until(lambda: not day.prometheus.firing("SnakepitStoreDown"), "everything goes on by itself")


def test_the_control_plane_is_down(day: Scene, tmp_path: Path) -> None:
    day.release.control_plane.end()
    found = follow(day, told(day, "SnakepitControlPlaneDown"), tmp_path)
    day.release.start_control_plane()
    assert "No resources found" in found.printed[0], "there is no pod of it"
    day.alertmanager.until_told("SnakepitControlPlaneDown", status="resolved")


def test_each_alert_was_raised_and_only_what_harms_users_now_has_woken_anybody(day: Scene) -> None:
    """After all of the above: who has been told of what."""
    severities = {name: rule["labels"]["severity"] for name, rule in alerts().items()}
    heard = {each.labels["alertname"]: each.receiver for each in day.alertmanager.told()}
    assert set(severities) == set(heard)
    assert {severities[name] for name, who in heard.items() if who == "pager"} == {"critical"}
    assert {severities[name] for name, who in heard.items() if who != "pager"} == {"warning"}
