"""The chart as helm renders it. Skips, with the reason, where helm is neither there nor can be built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.chart import CHART, Objects, Refused, Render, parse
from support.go_tools import BUILD_SECONDS, go_tool

FIXTURE_TIMEOUT = pytest.mark.timeout(BUILD_SECONDS + 60)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test may have to build helm, which takes minutes on a machine that has none."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(FIXTURE_TIMEOUT)


@pytest.fixture(scope="session")
def helm() -> Path:
    return go_tool("helm")


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """`render("a=b", release="x", namespace="y")`: the objects of `helm template --set a=b`. Raises Refused."""
    seen: dict[tuple[str, ...], Objects] = {}

    def run(*values: str, release: str = "snakepit", namespace: str = "snakepit-system") -> Objects:
        command = (
            "template",
            release,
            str(CHART),
            "--kube-version",
            "v1.35.0",
            "--namespace",
            namespace,
            *(part for value in values for part in ("--set", value)),
        )
        if command not in seen:
            done = subprocess.run([helm, *command], capture_output=True, text=True, timeout=30, check=False)
            if done.returncode:
                raise Refused(done.stderr)
            seen[command] = parse(done.stdout)
        return seen[command]

    return run
