"""Somebody who is on call: waits for an alert, opens its page, and types what stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .api_server import ADMIN
from .pages import blocks
from .promtool import alerts
from .scraped import Scene


class Finding(NamedTuple):
    """What somebody sees who follows an alert's page: the alert, and what each block of commands there prints."""

    labels: dict[str, str]
    printed: list[str]


def follow(day: Scene, alert: str, folder: Path) -> Finding:
    """Wait until it fires in Prometheus, then type what its page says."""
    firing = day.prometheus.until_firing(alert)
    labels = firing["labels"]
    assert labels["severity"] == alerts()[alert]["labels"]["severity"]
    assert not re.search(r"\{\{|<error|<no value", " ".join(firing["annotations"].values())), "Prometheus has filled in what it says"
    shell = shell_of(day, folder, labels.get("pool", ""))
    ended = [typed(each.text, shell) for each in blocks("docs/alerts.md", "sh", alert)]
    return Finding(labels, [done.stdout + done.stderr for done in ended])


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
