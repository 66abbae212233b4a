"""Debian's promtool: what it says of rules and of scrapes, and whether an alert fires on series that a test makes up."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from .chart import CHART, Manifest

RULES = sorted((CHART / "files/rules").glob("*.yaml"))
SECONDS = 60


def debian(program: str) -> str:
    """Its path. Skips the test where it isn't there."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program}: hack/test-needs installs Debian's")
    return found


def promtool(*words: str | Path, stdin: str = "") -> str:
    """What it prints. Fails with that, if it finds anything wrong."""
    done = subprocess.run([debian("promtool"), *map(str, words)], input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts(files: list[Path] = RULES) -> dict[str, Manifest]:
    """Of those files, by their names."""
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def fires(
    folder: Path, alert: str, series: Mapping[str, str], labels: Mapping[str, str] | None, at: str = "30m", every: str = "1m"
) -> None:
    """The alert, and no other set of its labels, fires at that time; None: it doesn't.

    `series`: of each its values, a minute apart (`every`), as promtool writes them (`0+5x30`); so often the rules are evaluated, too.
    Fails with what promtool says.
    """
    found = json.dumps({"alertname": alert, "alertstate": "firing", **(labels or {})})
    name = "ALERTS{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in json.loads(found).items()) + "}"
    test = {
        "interval": every,
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}',
                "eval_time": at,
                "exp_samples": [] if labels is None else [{"labels": name, "value": 1}],
            }
        ],
    }
    file = folder / "rule.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(each) for each in RULES], "evaluation_interval": every, "tests": [test]}))
    promtool("test", "rules", file)
