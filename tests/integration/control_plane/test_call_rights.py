"""Whose calls a caller sees and may cancel, at a replica that asks for rights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client
from snakepit.errors import CallNotFound, Cancelled, PermissionDenied
from snakepit_control_plane.policy.rights import CALL, CANCEL_CALL, LIST_CALLS, LOOK, READ_CALL
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, put, token
from support.control_plane import eventually
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


async def test_others_calls_are_there_for_whoever_has_a_right_on_the_pools_calls(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path
) -> None:
    for who in (ADA, BOB):
        asks.give(who, CALL)
    files = [put(tmp_path / who, token(subject)) for who, subject in (("ada", ADA), ("bob", BOB))]
    async with Client(server.address, token_file=files[0]) as ada, Client(server.address, token_file=files[1]) as bob:
        pool, others = ada.pool(POOL), bob.pool(POOL)
        await others.call("echo", {})
        hanging = asyncio.create_task(others.call("hang", {}))
        await eventually(lambda: len(agent.running) == 1)
        running, ended = await others.calls()
        assert {running.caller, ended.caller} == {BOB}
        assert await pool.calls() == []
        for call in (running, ended):
            with pytest.raises(CallNotFound):
                await pool.call_info(call.id)
        assert not await pool.cancel(running.id)
        for right in (LIST_CALLS, READ_CALL):
            asks.give(ADA, right)
        server.door.access.forget()
        assert [call.id for call in await pool.calls()] == [running.id, ended.id]
        assert (await pool.call_info(ended.id)).caller == BOB
        with pytest.raises(PermissionDenied, match="may not delete snakepools/calls"):
            await pool.cancel(running.id)
        asks.give(ADA, CANCEL_CALL)
        server.door.access.forget()
        assert await pool.cancel(running.id)
        with pytest.raises(Cancelled, match=f"cancelled by {ADA}"):
            await hanging
        asks.give(BOB, LOOK)
        assert (await others.history()).errors == {"CANCELLED": 1}
