"""The alerts on pools that name an objective: they fire when its budget is spent too fast, and while that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.chart import CHART
from support.pages import blocks
from support.promtool import alerts, fires, promtool

FAST, SLOW = "SnakepitErrorBudgetBurnsFast", "SnakepitErrorBudgetBurnsSlowly"
FILE = CHART / "files/rules/slo.yaml"
POOL = {"pool": "team/digits", "objective": "latency"}


def objective(calls: str, bad: str, target: float = 0.999) -> dict[str, str]:
    """Of a pool at two replicas, each of which counts half of its calls: so many a minute, or in ten."""
    series = {}
    for instance in "ab":
        labels = f'job="cp",instance="{instance}",pool="team/digits",objective="latency"'
        series |= {
            f"snakepit_slo_calls_total{{{labels}}}": calls,
            f"snakepit_slo_bad_calls_total{{{labels}}}": bad,
            f"snakepit_slo_target_ratio{{{labels}}}": f"{target}+0x5000",
        }
    return series


EVERY = {FAST: "1m", SLOW: "10m"}


@pytest.mark.parametrize(
    ("alert", "bad", "at"),
    [
        pytest.param(FAST, "0+15x480", "70m", id="1.5 % in an hour"),
        pytest.param(FAST, "0+7x480", "7h", id="0.7 % in six"),
        pytest.param(SLOW, "0+4x480", "26h", id="0.4 % in a day"),
        pytest.param(SLOW, "0+2x480", "74h", id="0.2 % in three"),
    ],
)
def test_it_fires_where_a_budget_is_spent_too_fast(tmp_path: Path, alert: str, bad: str, at: str) -> None:
    fires(tmp_path, alert, objective("0+1000x480", bad), {**alerts([FILE])[alert]["labels"], **POOL}, at, EVERY[alert])


@pytest.mark.parametrize(
    ("alert", "series", "at"),
    [
        pytest.param(FAST, objective("0+1000x90", "0+5x90"), "70m", id="half a percent of an hour"),
        pytest.param(FAST, objective("0+1000x120", "0+15x60 900+0x60"), "95m", id="it is over"),
        pytest.param(FAST, objective("0+1000x90", "0+0x60 0+500x3"), "61m", id="it has just begun"),
        pytest.param(FAST, objective("0+0.02x90", "0+0.02x90"), "70m", id="two failures of two calls"),
        pytest.param(FAST, objective("0+1000x90", "0+15x90", 0.99), "70m", id="it promises less"),
        pytest.param(SLOW, objective("0+1000x160", "0+2x160", 0.998), "26h", id="as much as is allowed"),
        pytest.param(SLOW, objective("0+0x160", "0+0x160"), "26h", id="no calls"),
    ],
)
def test_it_is_quiet_where_nobody_has_to_look(tmp_path: Path, alert: str, series: dict[str, str], at: str) -> None:
    fires(tmp_path, alert, series, None, at, EVERY[alert])


@pytest.mark.parametrize(("bad", "left"), [("0+1x800", 0.5), ("0+0x800", 1), ("0+4x800", -1)])
def test_the_pages_query_says_what_is_left_of_a_budget(tmp_path: Path, bad: str, left: float) -> None:
    (query,) = [block.text for block in blocks("docs/slo.md") if "increase(" in block.text]
    found = {"labels": '{pool="team/digits", objective="latency"}', "value": left}
    expected = {"expr": f"round({query}, 0.001)", "eval_time": "31d", "exp_samples": [found]}
    series = [{"series": each, "values": values} for each, values in objective("0+2000x800", bad).items()]
    test = {"interval": "1h", "input_series": series, "promql_expr_test": [expected]}
    file = tmp_path / "query.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1h", "tests": [test]}))
    promtool("test", "rules", file)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    assert set(alerts([FILE])) == {FAST, SLOW}
    assert "10 rules found" in promtool("check", "rules", FILE)
