"""Large payloads and streams through TLS, by a real agent and its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import snakepit
from snakepit._wire.trust import Trust
from snakepit_control_plane.server import Running
from support.authority import Authority
from support.capsules import capsule, ready, spec
from support.large import MIB, POOL, SAMPLE

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def own_settings(authority: Authority) -> dict[str, Any]:
    return {"tls": authority.files()}


@pytest.fixture
async def pool(server: Running, authority: Authority) -> AsyncIterator[snakepit.Pool]:
    async with (
        capsule(spec(SAMPLE), server, pool=POOL, trust=Trust(authority.ca_file)),
        snakepit.Client(server.address, ca_file=authority.ca_file) as client,
    ):
        yield await ready(client.pool(POOL))


async def test_what_is_large_and_what_streams_goes_through_tls_on_bulk_lanes(server: Running, pool: snakepit.Pool) -> None:
    content = bytes(range(256)) * (10 * MIB // 256)
    for _ in range(2):
        assert await pool.call("echo", {"value": content}, timeout=30) == content
    sizes = [10, MIB, 100_000, 3 * MIB, 1]
    assert [len(chunk) async for chunk in pool.stream("chunks", {"sizes": sizes}, timeout=30)] == sizes
    assert server.links.bulk.count


async def test_many_at_once_all_come_whole(pool: snakepit.Pool) -> None:
    async def one(number: int) -> None:
        content = bytes([number]) * (MIB + number)
        assert await pool.call("echo", {"value": content}, timeout=50) == content

    await asyncio.gather(*map(one, range(12)))
