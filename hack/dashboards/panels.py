"""What a dashboard is made of: panels in rows, with their queries, as Grafana's JSON (its schema 39: Grafana 10.4 and later)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 8
"""Of the grid; and how high a panel is that doesn't say."""


@dataclass(frozen=True)
class Query:
    """`legend` names a series by its labels. `instant`: only its newest value is asked for. `exemplars`: also those of traced calls."""

    text: str
    legend: str = ""
    instant: bool = False
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """`text` says what it tells. `kind` is Grafana's name of it, `unit` too. `stacked`: its series are parts of one whole."""

    title: str
    text: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = HEIGHT
    stacked: bool = False
    least: float | None = 0
    most: float | None = None
    steps: Sequence[tuple[float | None, str]] = ()
    """From which value on it has that colour."""
    columns: Sequence[tuple[str, str]] = ()
    """Of a table: the title and unit of each query's column."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """What a reader may choose: the values of a label. `several`: more than one, or all."""

    name: str
    query: str
    several: bool = True


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    text: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default_factory=tuple)

    def json(self) -> Json:
        """As Grafana reads it."""
        return {
            "annotations": {"list": []},
            "description": self.text,
            "editable": True,
            "graphTooltip": 1,
            "links": [
                {"asDropdown": True, "includeVars": True, "keepTime": True, "tags": ["snakepit"], "title": "Snakepit", "type": "dashboards"}
            ],
            "panels": list(_placed(self.rows)),
            "refresh": "30s",
            "schemaVersion": 39,
            "tags": ["snakepit"],
            "templating": {"list": [_source(), *map(_variable, self.variables)]},
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
        }


def _source() -> Json:
    return {"label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource"}


def _variable(variable: Variable) -> Json:
    every = {"allValue": ".*", "current": {"selected": True, "text": "All", "value": "$__all"}} if variable.several else {}
    return {
        "datasource": SOURCE,
        "includeAll": variable.several,
        "label": variable.name.capitalize(),
        "multi": variable.several,
        "name": variable.name,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "type": "query",
        **every,
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """Each row's title, and its panels below it from left to right; Grafana wants to be told where."""
    number, y = 1, 0
    for row in rows:
        yield {"collapsed": False, "gridPos": _at(0, y, WIDTH, 1), "id": number, "panels": [], "title": row.title, "type": "row"}
        x, y, number = 0, y + 1, number + 1
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + panel.height
            yield _panel(panel, number, _at(x, y, panel.width, panel.height))
            x, number = x + panel.width, number + 1
        y += row.panels[-1].height


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"h": height, "w": width, "x": x, "y": y}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "datasource": SOURCE,
        "description": panel.text,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": [_column(name, unit) for name, unit in panel.columns]},
        "gridPos": place,
        "id": number,
        "options": _OPTIONS[panel.kind],
        "targets": [_target(panel, query, letter) for query, letter in zip(panel.queries, "ABCDEFGHIJ", strict=False)],
        "title": panel.title,
        "type": panel.kind,
        **({"transformations": _joined(panel)} if panel.columns else {}),
    }


def _target(panel: Panel, query: Query, letter: str) -> Json:
    form = {"format": "table"} if panel.kind == "table" else {}
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "exemplar": query.exemplars,
        "expr": query.text,
        "instant": query.instant,
        "legendFormat": query.legend,
        "range": not query.instant,
        "refId": letter,
        **form,
    }


def _defaults(panel: Panel) -> Json:
    steps = [{"color": colour, "value": value} for value, colour in panel.steps or ((None, "green"),)]
    found: Json = {"thresholds": {"mode": "absolute", "steps": steps}, "unit": panel.unit}
    found |= {name: value for name, value in (("min", panel.least), ("max", panel.most)) if value is not None}
    if panel.kind == "timeseries":
        stacking = {"group": "A", "mode": "normal" if panel.stacked else "none"}
        found["custom"] = {"fillOpacity": 25 if panel.stacked else 8, "lineWidth": 1, "showPoints": "never", "stacking": stacking}
    return found


_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
    "table": {"cellHeight": "sm", "showHeader": True},
}


def _column(name: str, unit: str) -> Json:
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}


def _joined(panel: Panel) -> list[Json]:
    """The queries' values as columns of one table, a row for each set of labels."""
    names = {f"Value #{letter}": name for (name, _), letter in zip(panel.columns, "ABCDEFGHIJ", strict=False)}
    if len(panel.columns) == 1:
        names["Value"] = panel.columns[0][0]
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}},
    ]
