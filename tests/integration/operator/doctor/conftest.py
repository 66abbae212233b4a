"""`snakepit doctor --kube` beside a real API server: the chart's own objects, conditions that the operator's code wrote, and kubectl.

There are no nodes: the test says how many pods are ready, and why not. Only `kubectl port-forward` needs one, and is played.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from snakepit_control_plane.server import Running
from support import fake_kubectl as fake
from support.admin import Admin
from support.api_server import ADMIN, ApiServer
from support.chart_release import Release
from support.control_plane import replica


@pytest.fixture
async def control_plane() -> AsyncIterator[Running]:
    async with replica(told=False) as running:
        yield running


@pytest.fixture
def kubectl(server: ApiServer, control_plane: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The real one; logs in as whom the test says, and as the administrator."""
    script = tmp_path / "kubectl"
    played, real = f'{sys.executable} {fake.__file__} "$@"', f'{server.programs / "kubectl"} "$@"'
    script.write_text(
        f'#!/bin/sh\nexport KUBECONFIG="$(cat {tmp_path / "login"})"\ncase "$*" in *port-forward*) exec {played};; *) exec {real};; esac\n'
    )
    script.chmod(0o755)
    (tmp_path / "target").write_text(control_plane.address)
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SNAKEPIT_TOKEN_FILE", "SNAKEPIT_CA_FILE"):
        monkeypatch.delenv(name, raising=False)

    def login(user: str) -> None:
        (tmp_path / "login").write_text(str(server.kubeconfig(user)))

    login(ADMIN)
    return login


@pytest.fixture
async def release(admin: Admin, kubectl: Callable[[str], None], tmp_path: Path) -> AsyncIterator[Release]:
    made = Release(admin, tmp_path)
    yield made
    await made.uninstall()
