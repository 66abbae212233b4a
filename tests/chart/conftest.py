"""The chart as helm renders it. Skips, with the reason, where helm is neither there nor can be built."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

from support.admin import equipped
from support.api_server import ADMIN, ApiServer
from support.chart import Refused, Render, rendered
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
    """`render("a=b", release="x", namespace="y")`: the objects of `helm template --set a=b`. Raises Refused.

    `hooks`: also those of `helm test`.
    """
    return cache(partial(rendered, helm))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that knows SnakePools. There are no nodes, so nothing runs."""
    with equipped(tmp_path_factory.mktemp("api-server")) as found:
        yield found


Run = Callable[..., str]


@pytest.fixture(scope="session")
def run(server: ApiServer) -> Run:
    """`run("kubectl", "get", "pods")` as the administrator: what it prints. Raises Refused, with what it says on stderr."""
    kubeconfig = str(server.kubeconfig(ADMIN))

    def typed(program: str, *words: str, stdin: str = "") -> str:
        command = [server.programs / program, *words, "--kubeconfig", kubeconfig]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    return typed
