"""The chart's alerts: each fires on the series of its harm and stays quiet on those of a usual day, as promtool evaluates them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from snakepit._telemetry.metrics import TABLE
from snakepit.errors import BY_REASON, Fault
from snakepit_operator.pods import POOL_LABEL, WORKER
from support.chart import CHART, Manifest, Render, check_values
from support.pages import ROOT, blocks
from support.promtool import RULES, alerts, fires, promtool

Series = dict[str, str]

POOL = {"pool": "team/digits"}
OWN = {path.name for path in RULES} - {"slo.yaml"}
"""The files whose cases are here."""
UP = {'up{job="cp",instance="a"}': "1+0x60"}


def calls(outcome: str, count: int) -> Series:
    """So many a minute of them, beside a hundred that end well."""
    return {
        'snakepit_calls_total{pool="team/digits",tool="read",outcome="OK"}': "0+100x60",
        f'snakepit_calls_total{{pool="team/digits",tool="read",outcome="{outcome}"}}': f"0+{count}x60",
    }


def both(name: str, labels: str, values: str) -> Series:
    """The same series at two replicas."""
    return {f'{name}{{job="cp",instance="{each}",pool="team/digits"{labels}}}': values for each in "ab"}


def answers(fine: int, failed: int, status: int = 502) -> Series:
    """Of the gateway, so many a minute."""
    name = "http_server_request_duration_seconds_count"
    route = 'http_request_method="POST",http_route="/v1"'
    return {
        f'{name}{{{route},http_response_status_code="200"}}': f"0+{fine}x60",
        f'{name}{{{route},http_response_status_code="{status}"}}': f"0+{failed}x60",
    }


def round_trips(fast: int, slow: int) -> Series:
    """To the store: within a hundredth of a second, and within one."""
    name = "snakepit_store_operation_duration_seconds_bucket"
    counts = {"0.01": fast, "0.25": fast, "1": fast + slow, "+Inf": fast + slow}
    return {f'{name}{{operation="get",le="{bound}"}}': f"0+{count}x60" for bound, count in counts.items()}


def workers(ready: str) -> Series:
    return {
        'snakepit_pool_desired_capsules{pool="team/digits"}': "2+0x60",
        'snakepit_workers{pool="team/digits",state="ready"}': ready,
        'snakepit_workers{pool="team/digits",state="backoff"}': "4+0x60",
    }


def busy(free: str) -> Series:
    return {
        'snakepit_queue_depth{pool="team/digits",priority="normal"}': "3+0x60",
        'snakepit_slots{pool="team/digits",state="free"}': free,
        'snakepit_slots{pool="team/digits",state="busy"}': "4+0x60",
    }


def processor(has: float, wants: float) -> Series:
    """Of a replica: so many cores, as shares of its time."""
    found = {'process_cpu_seconds_total{job="cp",instance="a"}': f"0+{60 * has}x60"}
    return found | {'snakepit_event_loop_wait_seconds_total{job="cp",instance="a"}': f"0+{60 * (wants - has)}x60"}


def sessions(count: int) -> Series:
    return {
        'snakepit_sessions{pool="team/digits"}': f"{count}+0x60",
        'snakepit_sessions_limit{pool="team/digits"}': "100+0x60",
    }


BUILD = 'snakepit_build_info{{component="{0}",version="1"}}'.format

CASES: dict[str, tuple[Series, dict[str, str], list[Series]]] = {
    "SnakepitPoolDown": (
        workers("2+0x20 0+0x60"),
        POOL,
        [
            workers("2+0x60"),
            workers("2+0x25 0+0x2 2+0x60"),
            {**workers("0+0x60"), 'snakepit_pool_desired_capsules{pool="team/digits"}': "0+0x60"},
        ],
    ),
    "SnakepitCallsFailing": (calls("WORKER_LOST", 10), POOL, [calls("TOOL_ERROR", 90), calls("WORKER_LOST", 1), calls("DEADLINE", 50)]),
    "SnakepitCallsRefused": (calls("POOL_SATURATED", 10), POOL, [calls("CALLER_LIMIT", 30), calls("QUEUE_TIMEOUT", 3)]),
    "SnakepitDeadlinesExceeded": (calls("DEADLINE", 50), POOL, [calls("DEADLINE", 30), calls("QUEUE_TIMEOUT", 90)]),
    "SnakepitPoolSaturated": (busy("0+0x60"), POOL, [busy("1+0x60"), busy("0+0x20 1 0+0x60")]),
    "SnakepitWorkersCrashing": (
        both("snakepit_worker_restarts_total", ',reason="oom"', "0+1x60"),
        POOL,
        [
            both("snakepit_worker_restarts_total", ',reason="crashed"', "0+0x28 4+0x60"),
            both("snakepit_worker_restarts_total", ',reason="recycled"', "0+9x60"),
            both("snakepit_worker_restarts_total", ',reason="oom"', "900+0x60"),
        ],
    ),
    "SnakepitCapsulesLost": (
        {**both("snakepit_capsules_lost_total", "", "_x25 3+0x60"), **UP},
        POOL,
        [{**both("snakepit_capsules_lost_total", "", "_x25 2+0x60"), **UP}, both("snakepit_capsules_lost_total", "", "_x25 30+0x60")],
    ),
    "SnakepitPoolDegraded": (
        {f'snakepit_pool_condition{{pool="team/digits",type="{each}",status="True"}}': "1+0x60" for each in ("Degraded", "Stalled")},
        POOL,
        [
            {
                'snakepit_pool_condition{pool="team/digits",type="Degraded",status="True"}': "0+0x60",
                'snakepit_pool_condition{pool="team/digits",type="Ready",status="True"}': "1+0x60",
            },
            {'snakepit_pool_condition{pool="team/digits",type="Degraded",status="True"}': "0+0x20 1+0x60"},
        ],
    ),
    "SnakepitStoreDown": (
        {'snakepit_store_up{job="cp",instance="a"}': "1+0x60", 'snakepit_store_up{job="cp",instance="b"}': "1+0x20 0+0x60"},
        {"job": "cp"},
        [{'snakepit_store_up{job="cp",instance="a"}': "1+0x60"}, {'snakepit_store_up{job="cp",instance="a"}': "1+0x29 0+0x60"}],
    ),
    "SnakepitStoreSlow": (round_trips(90, 10), {}, [round_trips(1000, 1)]),
    "SnakepitSessionsLost": (
        {'snakepit_sessions_lost_total{job="cp",instance="a",pool="team/digits",reason="lost"}': "_x25 1+0x60", **UP},
        POOL,
        [
            {'snakepit_sessions_lost_total{job="cp",instance="a",pool="team/digits",reason="lost"}': "5+0x60", **UP},
            {'snakepit_sessions_lost_total{job="cp",instance="a",pool="team/digits",reason="lost"}': "_x25 5+0x60"},
            {'snakepit_sessions_lost_total{job="cp",instance="a",pool="team/digits",reason="scaled down"}': "_x25 5+0x60", **UP},
        ],
    ),
    "SnakepitSessionsNearlyFull": (
        sessions(88),
        POOL,
        [sessions(80), {**sessions(95), 'snakepit_sessions_limit{pool="team/digits"}': "0+0x60"}],
    ),
    "SnakepitControlPlaneDown": (
        {BUILD("control-plane"): "1+0x20 _x60", BUILD("operator"): "1+0x60"},
        {"component": "control-plane"},
        [{BUILD("control-plane"): "1+0x60"}],
    ),
    "SnakepitControlPlaneSaturated": (
        processor(0.97, 0.97),
        {"job": "cp", "instance": "a"},
        [processor(0.6, 0.65), {'process_cpu_seconds_total{job="mine",instance="a"}': "0+300x60"}],
    ),
    "SnakepitOperatorDown": (
        {'snakepit_operator_leader{instance="a"}': "0+0x60"},
        {},
        [{'snakepit_operator_leader{instance="a"}': "0+0x20 1+0x60", 'snakepit_operator_leader{instance="b"}': "1+0x20 0+0x60"}],
    ),
    "SnakepitOperatorFailing": (
        {'snakepit_operator_reconciles_total{outcome="error"}': "0+1x60"},
        {},
        [
            {
                'snakepit_operator_reconciles_total{outcome="error"}': "0+0x10 1+0x60",
                'snakepit_operator_reconciles_total{outcome="ok"}': "0+9x60",
            }
        ],
    ),
    "SnakepitGatewayDown": (
        {BUILD("gateway"): "1+0x20 _x60"},
        {"component": "gateway"},
        [{BUILD("gateway"): "1+0x60"}],
    ),
    "SnakepitGatewayErrors": (answers(90, 10), {}, [answers(100, 1), answers(50, 50, status=500)]),
}
"""Of each alert: series on which it fires, which labels it has then, and those of usual days."""

ALSO: dict[str, list[Series]] = {
    "SnakepitWorkersCrashing": [{**both("snakepit_worker_restarts_total", ',reason="crashed"', "_x25 9+0x60"), **UP}],
    "SnakepitCapsulesLost": [both("snakepit_capsules_lost_total", "", "0+0x25 4+0x60")],
    "SnakepitSessionsLost": [
        {'snakepit_sessions_lost_total{job="cp",instance="a",pool="team/digits",reason="crashed"}': "5+0x25 6+0x60", **UP}
    ],
    "SnakepitPoolDown": [workers("_x60")],
    "SnakepitControlPlaneSaturated": [processor(0.25, 0.97)],
}
"""Other series on which they fire: of counters that were there before, or came with their first event; and where nothing is told."""

HAVE_OTHERS = {"DEADLINE", "SESSION_QUOTA"}
"""A deadline is what a caller gives, so that it takes more of them. Full quotas have an alert of their own."""

QUIET = [(alert, number) for alert, (_, _, days) in CASES.items() for number in range(len(days))]


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_where_there_is_harm(tmp_path: Path, alert: str) -> None:
    first, labels, _ = CASES[alert]
    for series in (first, *ALSO.get(alert, ())):
        fires(tmp_path, alert, series, {**alerts()[alert]["labels"], **labels})


@pytest.mark.parametrize(("alert", "number"), QUIET)
def test_it_is_quiet_on_a_usual_day(tmp_path: Path, alert: str, number: int) -> None:
    fires(tmp_path, alert, CASES[alert][2][number], None)


def test_what_fails_by_the_platforms_fault_is_in_one_alert_or_the_other() -> None:
    named = {
        name: set(re.findall(r"[A-Z]+(?:_[A-Z]+)*(?=[|\"])", alerts()[name]["expr"]))
        for name in ("SnakepitCallsFailing", "SnakepitCallsRefused")
    }
    platform = {reason for reason, kind in BY_REASON.items() if kind.fault is Fault.PLATFORM}
    assert named["SnakepitCallsFailing"] | named["SnakepitCallsRefused"] == platform - HAVE_OTHERS


def _selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of an expression, with the labels that it is selected by."""
    for name, selector in re.findall(r"(?<!:)\b((?:snakepit|process|http_server)_\w+)(\{[^}]*\})?", expression):
        yield re.sub(r"_(bucket|count|sum)$", "", name), set(re.findall(r"(\w+)(?:=|!)", selector))


def test_rules_speak_of_metrics_that_there_are_and_of_labels_that_they_have() -> None:
    labels = {row.name: set(row.labels) for row in TABLE}
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        found = list(_selected(rule["expr"]))
        assert found or ":" in rule["expr"], f"it speaks of no metric, and of nothing that another rule records: {rule}"
        for metric, selected in found:
            assert metric in labels, rule
            assert selected <= labels[metric], rule


def test_each_alert_has_its_cases() -> None:
    assert set(alerts([path for path in RULES if path.name in OWN])) == set(CASES)


def test_promtool_finds_nothing_wrong_with_the_rules_that_the_chart_makes(render: Render, tmp_path: Path) -> None:
    (made,) = render("metrics.prometheusRule.enabled=true", "gateway.enabled=true").of("PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(made["spec"]))
    count = sum(len(group["rules"]) for group in made["spec"]["groups"])
    assert f"{count} rules found" in promtool("check", "rules", file)


def _made(render: Render, *values: str) -> dict[str, Manifest]:
    (made,) = render("metrics.prometheusRule.enabled=true", *values).of("PrometheusRule")
    return {rule["alert"]: rule for group in made["spec"]["groups"] for rule in group["rules"] if "alert" in rule}


def test_each_alert_says_how_bad_it_is_and_has_its_page(render: Render) -> None:
    pages = set(re.findall(r"^### (Snakepit\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    found = _made(render, "gateway.enabled=true", "metrics.prometheusRule.runbooks=https://wiki.example/alerts")
    assert set(found) == pages
    for name, rule in found.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert {"summary", "description"} <= set(rule["annotations"]), name
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example/alerts#{name.lower()}"


def test_the_list_of_the_pages_says_how_bad_each_alert_is_and_after_how_long() -> None:
    text = (ROOT / "docs/alerts.md").read_text()
    listed = {name: words for name, *words in re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (\w+) \| ([^|]+) \|", text, re.MULTILINE)}
    after = {name: rule["for"].replace("m", " min") if "for" in rule else "at once" for name, rule in alerts().items()}
    assert listed == {name: [rule["labels"]["severity"], after[name]] for name, rule in alerts().items()}


def test_there_are_alerts_on_the_gateway_where_there_is_one(render: Render) -> None:
    assert not [name for name in _made(render) if "Gateway" in name]
    assert _made(render)["SnakepitPoolDown"]["annotations"]["runbook_url"] == "docs/alerts.md#snakepitpooldown"
    assert not render().of("PrometheusRule")


def test_what_prometheus_fills_in_reaches_it_as_it_was_written(render: Render) -> None:
    for name, rule in _made(render, "gateway.enabled=true").items():
        assert rule["annotations"]["summary"] == alerts()[name]["annotations"]["summary"]


def test_pages_look_for_what_the_chart_and_the_operator_make(render: Render) -> None:
    objects = render("gateway.enabled=true")
    text = "\n".join(block.text for block in blocks("docs/alerts.md", "sh"))
    made = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects}
    workloads = set(re.findall(r"(?:deployment|statefulset)/[\w-]+", text))
    leases = {f"lease/{name}" for name in re.findall(r"describe lease -n snakepit-system ([\w-]+)", text)}
    assert len(workloads) > 1
    assert len(leases) == 1
    assert workloads | leases <= made
    pods = [each["spec"]["template"]["metadata"]["labels"] for kind in ("Deployment", "StatefulSet") for each in objects.of(kind)]
    asked = set(re.findall(r"app\.kubernetes\.io/component=([\w-]+)", text))
    assert asked == {each["app.kubernetes.io/component"] for each in pods}
    assert set(re.findall(r'"(\S+)=\$\{POOL#', text)) == {POOL_LABEL}
    assert set(re.findall(r" -c (\w+)", text)) == {WORKER}


def test_the_values_that_the_page_shows_are_values_of_the_chart() -> None:
    (block,) = blocks("docs/monitoring.md", "yaml", "With kube-prometheus-stack")
    values = yaml.safe_load(block.text)
    check_values(values)
    with pytest.raises(jsonschema.ValidationError):
        check_values({"metrics": values["metrics"] | {"slip": True}})


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds(render: Render) -> None:
    assert not [each for each in render().of("ConfigMap") if "dashboard" in each["metadata"]["name"]]
    objects = render("metrics.dashboards.enabled=true", "metrics.dashboards.annotations.grafana_folder=Snakepit")
    found = [each for each in objects.of("ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    data = {name: text for each in found for name, text in each["data"].items()}
    assert data == {path.name: path.read_text() for path in (CHART / "files/dashboards").glob("*.json")}
    assert len(data) == 4
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in found} == {"Snakepit"}
