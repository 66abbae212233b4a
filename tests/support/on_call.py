"""Somebody who is on call: is told of an alert, opens the page that it links to, and types what stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .alertmanager import Told
from .api_server import ADMIN
from .pages import SHELL, Block, blocks
from .prometheus import hastened
from .promtool import alerts
from .scraped import RUNBOOKS, Scene

POOL = "team/digits"
"""The pool of the pages' queries."""


class Finding(NamedTuple):
    """What somebody sees who follows an alert's page: the alert, and what each block of commands there prints."""

    labels: Mapping[str, str]
    printed: list[str]


def told(day: Scene, alert: str, pool: str = "") -> Told:
    """Wait until somebody is told that it fires; `pool`: the one that it is about, if any."""
    found = day.alertmanager.until_told(alert, pool)
    severity = alerts()[alert]["labels"]["severity"]
    assert (found.receiver, found.labels["severity"]) == (receiver_of(severity, pool), severity), f"who was told: {found}"
    assert not re.search(r"\{\{|<error|<no value", " ".join(found.annotations.values())), "Prometheus has filled in what it says"
    return found


def receiver_of(severity: str, pool: str) -> str:
    """Whoever docs/monitoring.md wants to be told: the day's pools are all one team's."""
    if severity == "critical":
        return "pager"
    return "team" if pool else "chat"


def follow(day: Scene, alert: Told, folder: Path) -> Finding:
    """Open the page that it links to, and type what that says."""
    shell = shell_of(day, folder, alert.labels.get("pool", ""))
    steps = linked(alert.annotations["runbook_url"])
    assert steps, "its page has commands"
    return Finding(alert.labels, [tried(day, each, shell) for each in steps])


def tried(day: Scene, step: Block, shell: dict[str, str]) -> str:
    """What its commands print; of queries, which have no language there, what Prometheus answers."""
    if step.language == SHELL:
        done = typed(step.text, shell)
        return done.stdout + done.stderr
    queries = hastened(step.text.replace(POOL, shell["POOL"])).splitlines()
    return json.dumps([day.prometheus.now(query) for query in queries])


def linked(runbook: str) -> list[Block]:
    """The commands and queries that stand where the link leads."""
    page, _, anchor = runbook.partition("#")
    assert page == RUNBOOKS, runbook
    return [each for each in blocks("docs/alerts.md") if each.heading.lower() == anchor]


def shell_of(day: Scene, folder: Path, pool: str) -> dict[str, str]:
    """Its environment, as the page says how to make it."""
    return {
        **os.environ,
        "PATH": f"{_programs(day, folder)}:{Path(sys.executable).parent}:{day.api.programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(day.api.kubeconfig(ADMIN)),
        "SNAKEPIT_SERVER": day.release.address,
        "POOL": pool,
    }


def _programs(day: Scene, folder: Path) -> Path:
    """A kubectl that has the logs, too: where there is no kubelet, nobody else can tell them."""
    logs = {"control-plane": day.release.control_plane, "operator": day.release.operator, "gateway": day.release.gateway}
    for name, program in logs.items():
        (folder / f"snakepit-{name}.log").write_text(program.output)
    script = folder / "kubectl"
    script.write_text(
        f"#!/bin/sh\ncase $1 in\nlogs) for word in $@; do cat {folder}/${{word#*/}}.log 2>/dev/null; done;;\n"
        f'*) exec {day.api.programs}/kubectl "$@";;\nesac\n'
    )
    script.chmod(0o755)
    return folder


def typed(text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, timeout=60, check=False)
