"""The doctor beside real replicas: what it finds, as words and sentences."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from snakepit.cli.config import Kube
from snakepit.cli.doctor.examination import examine
from snakepit.cli.target import Target
from snakepit.client.findings import Finding

Examined = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Examined:
    """What is found at an address, by its word."""
    for name in ("SNAKEPIT_SERVER", "SNAKEPIT_TOKEN_FILE", "SNAKEPIT_CA_FILE", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)

    async def examined(address: str, pool: str | None = None, *, kube: Kube | None = None, **more: str) -> dict[str, Finding]:
        report = await examine(Target(address, kube=kube, **more), pool)  # type: ignore[arg-type]
        return {each.reason: each for each in report.findings}

    return examined
