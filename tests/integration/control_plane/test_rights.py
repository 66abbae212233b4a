"""What callers may do at a replica that asks for their rights, whichever way they come, and how long a link's token is good."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit.client import renewals
from snakepit.errors import InvalidArguments, PermissionDenied, ServerUnavailable, SessionNotFound, SnakepitError
from snakepit_control_plane.policy import rights as policy
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, DELETE_SESSION, LIST_SESSIONS, LOOK, MAINTAIN, OFFER, READ_SESSION
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import held
from support.callers import ADA, BOB, OBSERVER, put, token
from support.control_plane import Caller, eventually
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def ada(server: Running, agent: SimulatedAgent, tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as client:
        yield client


async def test_without_the_right_to_call_no_way_of_calling_leads_anywhere_and_with_it_each_does(
    server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer
) -> None:
    async def streamed(client: Client) -> list[Any]:
        return [each async for each in client.pool(POOL).stream("count", {"to": 1})]

    async with grpc.aio.insecure_channel(server.address) as channel:
        plain = Caller(channel, token(ADA))
        by_bulk_lane = (lambda: ada.pool(POOL).call("echo", {"a": b"x" * 1_000_000}),)
        ways = (
            lambda: ada.pool(POOL).call("echo", {"a": 1}),
            lambda: streamed(ada),
            lambda: plain.call("echo", {"a": 1}),
            lambda: anext(aiter(plain.stream("count", {"to": 1}))),
        )
        for way in (*ways, *by_bulk_lane):
            with pytest.raises((PermissionDenied, grpc.aio.AioRpcError), match="may not create snakepools/call of pool default/test"):
                await way()
        assert not agent.calls
        asks.give(ADA, CALL)
        server.door.access.forget()
        for way in ways:
            await way()
    assert {spec["user"] for spec in asks.asked} == {ADA, OBSERVER}
    assert ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"] in [spec["groups"] for spec in asks.asked]


def told() -> int:
    return 1


async def test_each_other_deed_needs_its_own_right(server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer) -> None:
    pool = ada.pool(POOL)
    worker = "test-0/0"

    async def offer() -> None:
        async with ada.offer([told], pool=POOL):
            pass

    deeds = {
        LOOK: (pool.info, pool.tools, pool.workers),
        MAINTAIN: (lambda: pool.recycle_worker(worker),),
        OFFER: (offer,),
    }
    assert await ada.pools() == []
    for right, each in deeds.items():
        for deed in each:
            with pytest.raises(PermissionDenied, match=str(right)):
                await deed()
    for right, each in deeds.items():
        asks.give(ADA, right)
        server.door.access.forget()
        for deed in each:
            await deed()
    assert [each.name for each in await ada.pools()] == [POOL]


async def test_others_sessions_are_there_for_whoever_has_a_right_on_the_pools_sessions(
    server: Running, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        ada, bob = Caller(channel, token(ADA)), Caller(channel, token(BOB))
        await ada.create("hers")
        for refused in (bob.call("echo", {"a": 1}, session_id="hers"), bob.session("hers"), bob.rebind("hers"), bob.create("hers")):
            with pytest.raises(SessionNotFound):
                await refused
        assert await bob.listed() == []
        asks.give(BOB, READ_SESSION, LIST_SESSIONS, CHANGE_SESSION)
        server.door.access.forget()
        assert (await bob.session("hers")).owner == ADA
        assert [each.id for each in await bob.listed()] == ["hers"]
        assert await bob.call("echo", {"a": 1}, session_id="hers") is not None
        assert not await bob.delete("hers")
        asks.give(BOB, DELETE_SESSION)
        server.door.access.forget()
        assert await bob.delete("hers")


def audited(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The audit log's lines."""
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "snakepit.audit"]


async def test_who_calls_in_somebody_elses_session_is_in_the_audit_log_whichever_way_they_come(
    server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        plain = Caller(channel, token(ADA))
        await Caller(channel, token(BOB)).create("his")
        session = ada.pool(POOL).session("his")
        ways = (
            lambda: session.call("echo", {"a": 1}),
            lambda: anext(session.stream("count", {"to": 1})),
            lambda: plain.call("echo", {"a": 1}, session_id="his"),
            lambda: session.info(),
        )
        with caplog.at_level(logging.INFO, "snakepit.audit"):
            for way in ways:
                caplog.clear()
                with pytest.raises(SessionNotFound):
                    await way()
                (line,) = audited(caplog)
                assert (line["subject"], line["pool"], line["allowed"]) == (ADA, POOL, False)
                assert line["right"].endswith("snakepools/sessions")
            caplog.clear()
            await ada.pool(POOL).session("hers").create()
            await ada.pool(POOL).session("hers").call("echo", {"a": 1})
            with pytest.raises(SessionNotFound):
                await ada.pool(POOL).session("nobodys").call("echo")
            assert not audited(caplog), "her own session is hers, and one that isn't there is nobody's"
    assert len(agent.calls) == 1


async def test_pages_of_ones_own_sessions_are_full_and_name_nobody_elses(server: Running, agent: SimulatedAgent, asks: Reviewer) -> None:
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        ada, bob = Caller(channel, token(ADA)), Caller(channel, token(BOB))
        for number in range(4):
            await ada.create(f"s{number}-hers")
            await bob.create(f"s{number}-his")
        pages, after = list[list[str]](), ""
        while after or not pages:
            page = await bob.page(size=3, after=after)
            pages.append([each.id for each in page.sessions])
            after = page.next_page_token
            assert not after.endswith("hers")
        assert pages == [["s0-his", "s1-his", "s2-his"], ["s3-his"]]


async def test_a_session_of_a_group_is_everybodys_in_it_and_nobodys_else(
    server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer
) -> None:
    team, eve = "system:serviceaccounts:shop", "system:serviceaccount:others:eve"
    for each in (ADA, BOB, eve):
        asks.give(each, CALL)
    with pytest.raises(InvalidArguments, match=r"group 'others' is none of yours: .*'system:serviceaccounts:shop'"):
        await ada.pool(POOL).session("ours", group="others").create()
    await ada.pool(POOL).session("ours", group=team).create()
    async with grpc.aio.insecure_channel(server.address) as channel:
        bob, stranger = Caller(channel, token(BOB)), Caller(channel, token(eve))
        for refused in (stranger.call("echo", {"a": 1}, session_id="ours"), stranger.session("ours"), stranger.create("ours")):
            with pytest.raises(SessionNotFound):
                await refused
        assert not await stranger.listed()
        assert await bob.call("echo", {"a": 1}, session_id="ours") is not None
        assert [(each.owner, each.group) for each in await bob.listed()] == [(ADA, team)]
        assert await bob.delete("ours")


async def test_a_key_of_somebody_else_is_another_key(server: Running, agent: SimulatedAgent, asks: Reviewer) -> None:
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        ada, bob = Caller(channel, token(ADA)), Caller(channel, token(BOB))
        for caller in (ada, ada, bob, bob):
            await caller.call("echo", {"a": 1}, idempotency_key="k")
        assert len(agent.calls) == 2


async def test_calls_of_a_link_that_wait_for_the_answer_go_on_in_order_and_without_those_that_were_cancelled(
    server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer
) -> None:
    asks.give(ADA, CALL)
    asks.answers.clear()
    pool = ada.pool(POOL)
    calls = [asyncio.create_task(pool.call("echo", {"n": number})) for number in range(5)]
    await eventually(lambda: any(spec["user"] == ADA for spec in asks.asked), "the right is asked for")
    calls[2].cancel()
    await asyncio.gather(calls[2], return_exceptions=True)
    session = asyncio.create_task(pool.session("s").call("echo", {"n": 9}))
    asks.answers.set()
    done = await asyncio.gather(*calls, session, return_exceptions=True)
    assert sum(isinstance(each, BaseException) for each in done) == 2, "the one that was cancelled, and that of no session"
    assert len([spec for spec in asks.asked if spec["user"] == ADA and spec["resourceAttributes"]["subresource"] == "call"]) == 1


async def test_a_right_that_is_taken_ends_a_links_calls_to_the_pool(
    server: Running, ada: Client, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((policy, "FRESH_SECONDS"), (policy, "KEPT_SECONDS"), (policy, "REFUSED_SECONDS"), (held, "LOOK_AGAIN_SECONDS")):
        monkeypatch.setattr(module, name, 0.05)
    asks.give(ADA, CALL)
    assert await ada.pool(POOL).call("echo") is not None
    asks.take(ADA, CALL)

    async def refused() -> bool:
        try:
            await ada.pool(POOL).call("echo")
        except PermissionDenied:
            return True
        return False

    await eventually(refused, "the right is gone")
    asks.give(ADA, CALL)

    async def allowed() -> bool:
        return not await refused()

    await eventually(allowed, "it is there again")


async def test_while_nobody_answers_a_caller_that_was_never_asked_about_is_told_so(
    server: Running, agent: SimulatedAgent, ada: Client, asks: Reviewer, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    await ada.pool(POOL).call("echo")
    (tmp_path / "own").unlink()
    async with Client(server.address, token_file=put(tmp_path / "bob", token(BOB))) as bob:
        pool = bob.pool(POOL)
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: pool.call("echo"),
            lambda: pool.call("echo", {"a": b"x" * 1_000_000}),
            lambda: anext(pool.stream("count", {"to": 1})),
            lambda: pool.session("s").create(),
            lambda: pool.tools(),
        ]
        for way in ways:
            with pytest.raises(ServerUnavailable, match="can't be asked who may do what") as refused:
                await way()
            assert refused.value.started == "no", "nobody is told that a replica was lost under the call"
    await ada.pool(POOL).call("echo")


# ---- how long a link's token is good


async def test_a_link_outlives_its_token_where_the_next_one_comes_in_time(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewals, "SECONDS", 0.05)
    monkeypatch.setattr(renewals, "SHARE", 0.2)
    asks.give(ADA, CALL)
    first = int(time.time()) + 3
    file = put(tmp_path / "ada", token(ADA, exp=first))
    async with Client(server.address, token_file=file) as client:
        await client.pool(POOL).call("echo")
        (link,) = [each for each, peer in server.links.links.items() if peer.role == "client"]
        put(file, token(ADA, exp=first + 600))
        async with asyncio.timeout(20):
            while time.time() < first + 0.5:
                await client.pool(POOL).call("echo")
                await asyncio.sleep(0.05)
        assert link in server.links.links, "it is the same link"


async def test_a_link_whose_token_has_expired_takes_no_more_calls_and_the_client_is_told_why(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    file = put(tmp_path / "ada", token(ADA, exp=int(time.time()) - 5))
    async with Client(server.address, token_file=file) as client:
        await client.pool(POOL).call("echo")

        async def refused() -> SnakepitError | None:
            try:
                await client.pool(POOL).call("echo")
            except SnakepitError as error:
                return error
            return None

        assert "has expired" in str(await eventually(refused, "the token expires"))
