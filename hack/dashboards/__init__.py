"""The chart's Grafana dashboards, as hack/docs.py writes and checks them: each module has one, made of panels and their queries."""

from __future__ import annotations

import json
from pathlib import Path

from dashboards import components, fleet, pool, sessions

FOLDER = Path(__file__).resolve().parents[2] / "charts/snakepit/files/dashboards"


def pages() -> dict[Path, str]:
    """Their contents by their files."""
    return {
        FOLDER / f"{each.uid}.json": json.dumps(each.json(), indent=1, ensure_ascii=False) + "\n"
        for each in (fleet.DASHBOARD, pool.DASHBOARD, sessions.DASHBOARD, components.DASHBOARD)
    }
