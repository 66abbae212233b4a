"""Whose calls a caller sees and may cancel, at a replica that asks for rights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit.errors import CallNotFound, Cancelled, PermissionDenied, ToolError, Unauthenticated
from snakepit.v1.call_pb2 import GetCallRequest, ListCallsRequest
from snakepit.v1.call_pb2_grpc import CallServiceStub
from snakepit_control_plane.policy.rights import CALL, CANCEL_CALL, LIST_CALLS, LOOK, READ_CALL
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, known_agent, put, token
from support.control_plane import eventually, rpc
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

OTHER = "shop/other"


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


async def test_of_all_pools_calls_are_listed_and_found_that_one_may_see_there(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path
) -> None:
    asks.give(BOB, CALL)
    asks.give(ADA, LIST_CALLS, READ_CALL, on=POOL)
    asks.give(ADA, CALL, on=OTHER)
    files = [put(tmp_path / who, token(subject)) for who, subject in (("ada", ADA), ("bob", BOB))]
    (tmp_path / "agents").mkdir()
    other = known_agent(server.address, tmp_path / "agents", OTHER, "other-0")
    async with other, Client(server.address, token_file=files[0]) as ada, Client(server.address, token_file=files[1]) as bob:
        for pool in (POOL, OTHER):
            await bob.pool(pool).call("echo", {})
        with pytest.raises(ToolError):
            await ada.pool(OTHER).call("fail", {})
        bobs = await bob.calls()
        assert [(call.pool, call.caller) for call in bobs] == [(OTHER, BOB), (POOL, BOB)]
        hers = await ada.calls()
        assert [(call.pool, call.caller) for call in hers] == [(OTHER, ADA), (POOL, BOB)]
        assert [call.id for call in await ada.calls(reason="TOOL_ERROR")] == [hers[0].id]
        assert [call.id for call in await ada.calls(limit=1)] == [hers[0].id]
        assert (await ada.call_info(hers[1].id)).pool == POOL
        with pytest.raises(CallNotFound, match="of any pool"):
            await ada.call_info(bobs[0].id)


@pytest.mark.parametrize("shown", ["", token(ADA, aud=["others"])], ids=["no token", "a token for others"])
async def test_no_record_is_looked_at_for_somebody_who_is_not_known(
    server: Running, agent: SimulatedAgent, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    looks: list[str] = []

    class Watched:
        def __iter__(self) -> Iterator[Any]:
            looks.append("at each")
            return iter(())

        def __len__(self) -> int:
            looks.append("whether there is any")
            return 0

    monkeypatch.setattr(server.flow.pools[POOL], "records", Watched())
    async with grpc.aio.insecure_channel(server.address) as channel:
        stranger = CallServiceStub(channel)
        metadata = (("authorization", f"Bearer {shown}"),) if shown else ()
        for asked in (
            stranger.ListCalls(ListCallsRequest(), metadata=metadata),
            stranger.GetCall(GetCallRequest(call_id="c"), metadata=metadata),
            stranger.GetCall(GetCallRequest(call_id="c", pool=POOL), metadata=metadata),
        ):
            with pytest.raises(Unauthenticated):
                await rpc(asked)
    assert not looks
