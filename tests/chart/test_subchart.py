"""The chart as a part of another one: its condition, and what the parent says for all of its charts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.chart import CHART, Objects, environment, parse

Umbrella = Callable[..., Objects]

PARENT: dict[str, Any] = {
    "apiVersion": "v2",
    "name": "platform",
    "version": "1.0.0",
    "dependencies": [{"name": "snakepit", "version": ">=0.0.0-0", "repository": f"file://{CHART}", "condition": "snakepit.enabled"}],
}


@pytest.fixture
def umbrella(helm: Path, tmp_path: Path) -> Umbrella:
    """`umbrella({"global": …})`: what a chart renders that has this one as its only dependency."""
    (tmp_path / "Chart.yaml").write_text(yaml.dump(PARENT))
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/snakepit").symlink_to(CHART)

    def render(values: dict[str, Any]) -> Objects:
        (tmp_path / "values.yaml").write_text(yaml.dump(values))
        command = [helm, "template", "platform", tmp_path, "--namespace", "platform", "--kube-version", "v1.35.0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)

    return render


@pytest.mark.parametrize("values", [{}, {"snakepit": {"enabled": True}}], ids=["unset", "on"])
def test_the_parents_condition_leaves_it_in(umbrella: Umbrella, values: dict[str, Any]) -> None:
    assert {name for name, _ in umbrella(values).pod_specs()} == {
        f"platform-snakepit-{each}" for each in ("operator", "control-plane", "redis")
    }


def test_the_parents_condition_leaves_it_out(umbrella: Umbrella) -> None:
    assert umbrella({"snakepit": {"enabled": False}}) == []


def test_the_parents_registry_and_secrets_hold_for_every_pod(umbrella: Umbrella) -> None:
    given = {"imageRegistry": "mirror.example:5000", "imagePullSecrets": ["one", {"name": "two"}], "somebodyElses": {"value": 1}}
    pods = dict(umbrella({"global": given, "snakepit": {"imagePullSecrets": ["own", "one"]}}).pod_specs())
    images = {name.removeprefix("platform-snakepit-"): pod["containers"][0]["image"] for name, pod in pods.items()}
    assert images == {
        "operator": "mirror.example:5000/snakepit/operator:dev",
        "control-plane": "mirror.example:5000/snakepit/control-plane:dev",
        "redis": "mirror.example:5000/valkey/valkey:8-alpine",
    }
    assert all(pod["imagePullSecrets"] == [{"name": name} for name in ("one", "two", "own")] for pod in pods.values())
    agents = environment(pods["platform-snakepit-operator"])
    assert agents["SNAKEPIT_AGENT_IMAGE"] == "mirror.example:5000/snakepit/agent:dev"
    assert agents["SNAKEPIT_AGENT_PULL_SECRETS"] == "one,two"


def test_what_is_said_of_this_chart_alone_wins(umbrella: Umbrella) -> None:
    own = {
        "image": {"registry": "own.example"},
        "agent": {"image": {"repository": "agents.example/agent"}},
        "redis": {"image": {"repository": "redis.example/redis"}},
    }
    pods = dict(umbrella({"global": {"imageRegistry": "mirror.example"}, "snakepit": own}).pod_specs())
    assert pods["platform-snakepit-operator"]["containers"][0]["image"] == "own.example/snakepit/operator:dev"
    assert environment(pods["platform-snakepit-operator"])["SNAKEPIT_AGENT_IMAGE"] == "agents.example/agent:dev"
    assert pods["platform-snakepit-redis"]["containers"][0]["image"] == "redis.example/redis:8-alpine"


@pytest.mark.parametrize(("values", "namespace"), [([], "default"), (["--set", "watchNamespaces={team,other}"], "team")])
def test_the_notes_name_the_namespace_that_is_watched_in_every_line(helm: Path, values: list[str], namespace: str) -> None:
    notes = notes_of(helm, *values)
    assert f"namespace: {namespace}}}" in notes
    assert f"-n {namespace} sp/digits" in notes
    assert f"snakepit --kube call {namespace}/digits" in notes


def test_the_notes_say_what_is_alone_and_so_can_be_away_for_minutes(helm: Path) -> None:
    assert "alone" not in notes_of(helm)
    alone = notes_of(helm, "--set", "operator.replicas=1,controlPlane.replicas=1")
    assert ("operator.replicas=2" in alone, "controlPlane.replicas=2" in alone) == (True, True)


def test_the_notes_say_how_to_see_the_console(helm: Path) -> None:
    assert "console" not in notes_of(helm)
    notes = notes_of(helm, "--set", "gateway.enabled=true")
    assert "port-forward -n system service/snakepit-gateway 7880" in notes
    assert "https://localhost:7880" in notes
    assert "--audience snakepit.system" in notes


def notes_of(helm: Path, *values: str) -> str:
    command = [helm, "install", "snakepit", CHART, "-n", "system", "--dry-run=client", *values]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]
