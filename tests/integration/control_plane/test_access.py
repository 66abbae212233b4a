"""Who somebody is, and what they may do: asked by themselves."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from snakepit import CallerInfo, Client
from snakepit.errors import PermissionDenied, PoolNotFound, Unauthenticated
from snakepit_control_plane.policy.rights import AS_USER, CALL, LIST_CALLS, LOOK, MAINTAIN, ON_POOLS, READ_LOGS
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, put, token
from support.control_plane import replica
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


async def test_somebody_is_told_who_they_are_and_until_when(server: Running, asks: Reviewer, tmp_path: Path) -> None:
    async with Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as ada:
        info = await ada.whoami()
        assert (info.subject, info.groups[-1]) == (ADA, "system:authenticated")
        assert info.expires is not None
        assert timedelta(minutes=59) < info.expires - datetime.now(UTC) < timedelta(minutes=61)
        with pytest.raises(PermissionDenied):
            await ada.as_caller("bob").whoami()
        asks.give(ADA, AS_USER)
        server.door.access.forget()
        assert (await ada.as_caller("bob").whoami()).subject == "bob"
        assert (await ada.as_caller(token=token(BOB)).whoami()).subject == BOB
        with pytest.raises(Unauthenticated):
            await ada.as_caller(token=token(BOB, exp=time.time() - 60)).whoami()


async def test_somebody_is_told_all_their_rights_on_a_pool_at_once_and_no_line_of_the_audit_log_is_written(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, LOOK, LIST_CALLS)
    asks.give(ADA, CALL, on=POOL)
    asks.give(BOB, MAINTAIN)
    async with Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as ada:
        with caplog.at_level(logging.INFO, "snakepit.audit"):
            assert await ada.pool(POOL).rights() == {"create snakepools/call", "get snakepools/status", "list snakepools/calls"}
            assert await ada.as_caller(token=token(BOB)).pool(POOL).rights() == {"update snakepools/workers"}
        assert not [each for each in caplog.records if each.name == "snakepit.audit"]
        asked = len(asks.asked)
        with pytest.raises(PoolNotFound):
            await ada.pool("no/such").rights()
        assert len(asks.asked) == asked, "names that somebody makes up cost the API server nothing"


async def test_where_nobody_is_asked_there_is_no_subject_and_everything_is_allowed() -> None:
    async with replica() as server, simulated_agent(server.address), Client(server.address) as client:
        assert await client.whoami() == CallerInfo("", (), None)
        assert await client.pool(POOL).rights() == {str(each) for each in (*ON_POOLS, READ_LOGS)}
