"""The chart's dashboards, as Grafana's SDK reads them: it gives each back whole, so Grafana passes over nothing that is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from support.chart import CHART

FILES = sorted((CHART / "files/dashboards").glob("*.json"))
WIDTH = 24


def passed_over(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where `theirs` lacks something of `ours`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from passed_over(value, theirs.get(name), f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from passed_over(mine, other, f"{path}[{number}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Any:
    path: Path = request.param
    return json.loads(path.read_text())


def read_by_grafana(dashboard: Any) -> Any:
    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def test_grafana_knows_all_that_is_in_it(dashboard: Any) -> None:
    assert not list(passed_over(dashboard, read_by_grafana(dashboard)))


def test_a_field_that_grafana_does_not_know_is_noticed(dashboard: Any) -> None:
    dashboard["panels"][1]["tittle"] = "A slip"
    assert list(passed_over(dashboard, read_by_grafana(dashboard)))


def test_no_panel_lies_on_another_and_each_says_what_it_tells(dashboard: Any) -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH, panel["title"]
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            assert cells.setdefault(cell, panel["title"]) == panel["title"]
        assert panel["type"] == "row" or panel["description"], panel["title"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
