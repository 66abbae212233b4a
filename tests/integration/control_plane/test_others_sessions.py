"""What somebody learns of a session that is another caller's, and what it can do to it: as much as to one that isn't there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit.errors import PermissionDenied, SessionNotFound, SnakepitError
from snakepit.v1 import common_pb2, router_pb2, session_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, put, token
from support.control_plane import HINT, STRICT_FAIL_FAST, STRICT_QUEUE, Caller, eventually, rpc
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent
from support.stored import LIMITS, gone, value

HERS, NOBODYS = "hers", "nobodys"


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def callers(server: Running, agent: SimulatedAgent, asks: Reviewer) -> AsyncIterator[tuple[Caller, Caller]]:
    """Ada, who may call and has a session, and Bob, who may do nothing."""
    asks.give(ADA, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        ada, bob = Caller(channel, token(ADA)), Caller(channel, token(BOB))
        await ada.create(HERS)
        yield ada, bob


async def answer(rpc_: Any, session: str) -> str:
    """Of one RPC, as its caller sees it."""
    try:
        return str(await rpc(rpc_))
    except SnakepitError as error:
        return f"{error.reason} {error.message} {dict(error.details)}".replace(session, "ID")


def asked_of(caller: Caller, session: str) -> dict[str, Callable[[], Any]]:
    """Each RPC that names a session."""
    of, with_token = {"pool": POOL, "session_id": session}, {"metadata": caller.metadata}
    s, sent = session_pb2, caller.sessions
    return {
        "get": partial(sent.GetSession, s.GetSessionRequest(**of), **with_token),
        "touch": partial(sent.TouchSession, s.TouchSessionRequest(**of), **with_token),
        "rebind": partial(sent.RebindSession, s.RebindSessionRequest(**of), **with_token),
        "get state": partial(sent.GetState, s.GetStateRequest(key="k", **of), **with_token),
        "set state": partial(sent.SetState, s.SetStateRequest(key="k", value=common_pb2.Value(payload=value(b"2")), **of), **with_token),
        "delete state": partial(sent.DeleteState, s.DeleteStateRequest(key="k", **of), **with_token),
        "list state": partial(sent.ListState, s.ListStateRequest(**of), **with_token),
        "call": partial(caller.router.Execute, router_pb2.ExecuteRequest(tool="echo", **of), **with_token),
        "delete": partial(sent.DeleteSession, s.DeleteSessionRequest(**of), **with_token),
    }


@pytest.mark.parametrize("may_call", [False, True])
async def test_each_answer_about_anothers_session_is_that_about_one_which_is_not_there(
    server: Running, callers: tuple[Caller, Caller], asks: Reviewer, may_call: bool
) -> None:
    ada, bob = callers
    if may_call:
        asks.give(BOB, CALL)
    answers = [{what: await answer(each(), session) for what, each in asked_of(bob, session).items()} for session in (HERS, NOBODYS)]
    assert answers[0] == answers[1]
    expected = SessionNotFound.reason if may_call else PermissionDenied.reason
    refused = {what: said for what, said in answers[0].items() if not (may_call and what == "delete")}
    assert all(said.startswith(expected) for said in refused.values()), refused
    assert (await ada.session(HERS)).owner == ADA


async def test_somebody_elses_calls_do_not_keep_a_session_alive(callers: tuple[Caller, Caller], asks: Reviewer) -> None:
    ada, bob = callers
    asks.give(BOB, CALL)
    await ada.create("short", ttl_seconds=3)
    await ada.call("echo", {"a": 1}, session_id="short")

    async def knock() -> None:
        while True:
            with contextlib.suppress(SessionNotFound):
                await bob.call("echo", {"a": 1}, session_id="short")
            await asyncio.sleep(0.02)

    async def is_gone() -> bool:
        return "short" not in [each.id for each in await ada.listed()]

    knocking = asyncio.create_task(knock())
    await eventually(is_gone, "the session expires")
    knocking.cancel()


async def test_a_busy_session_of_somebody_else_is_not_there_either(
    agent: SimulatedAgent, callers: tuple[Caller, Caller], asks: Reviewer
) -> None:
    ada, bob = callers
    asks.give(BOB, CALL)
    running = ada.start("hang", session_id=HERS)
    await eventually(lambda: agent.running, "her call runs")
    for affinity in (HINT, STRICT_QUEUE, STRICT_FAIL_FAST):
        with pytest.raises(SessionNotFound):
            await bob.call("echo", {"a": 1}, session_id=HERS, affinity=affinity)
    assert not running.done(), "nobody waited for the end of her call"
    running.cancel()


async def made_anew(server: Running, ada: Caller, asks: Reviewer, **changes: Any) -> None:
    """For Bob, by another replica: this one takes it for Ada's."""
    asks.give(BOB, CALL)
    await ada.call("echo", {"a": 1}, session_id=HERS)
    await make_anew(server, **changes)


async def make_anew(server: Running, **changes: Any) -> None:
    hers = await server.store.delete_session(POOL, HERS)
    assert hers is not None
    await server.store.create_session(replace(hers, uid="another life", owner=BOB, worker="", incarnation="", agent="", **changes), 10)


async def test_a_session_that_another_replica_has_made_anew_for_somebody_else_is_theirs(
    server: Running, callers: tuple[Caller, Caller], asks: Reviewer, tmp_path: Path
) -> None:
    ada, _ = callers
    await made_anew(server, ada, asks)
    async with Client(server.address, token_file=put(tmp_path / "bob", token(BOB))) as bob:
        assert await bob.pool(POOL).session(HERS).call("echo", {"a": 1}) == {"a": 1}
    with pytest.raises(SessionNotFound):
        await ada.call("echo", {"a": 1}, session_id=HERS)


async def test_the_call_by_which_a_replica_learns_whose_it_is_now_keeps_it_alive(
    server: Running, agent: SimulatedAgent, callers: tuple[Caller, Caller], asks: Reviewer
) -> None:
    ada, bob = callers
    await made_anew(server, ada, asks, ttl_seconds=3)
    made = await server.store.get_session(POOL, HERS)
    running = bob.start("hang", session_id=HERS)

    async def is_kept() -> bool:
        return (await server.store.get_session(POOL, HERS)).last_used > made.last_used + made.ttl_seconds

    await eventually(is_kept, "it is there for longer than that")
    running.cancel()


async def test_a_call_that_runs_on_does_not_keep_a_session_alive_that_another_replica_has_made_anew_for_somebody_else(
    server: Running, agent: SimulatedAgent, callers: tuple[Caller, Caller]
) -> None:
    ada, _ = callers
    running = ada.start("hang", session_id=HERS)
    await eventually(lambda: agent.running, "her call runs")
    await make_anew(server, ttl_seconds=2)

    async def is_gone() -> bool:
        return await gone(server.store, POOL, HERS)

    await eventually(is_gone, "his session expires", 10)
    assert not running.done()
    running.cancel()


@pytest.mark.parametrize("what", ["touch", "rebind", "get state", "set state", "delete state", "list state", "delete"])
async def test_a_session_that_somebody_else_makes_anew_between_the_look_and_the_deed_is_theirs(
    server: Running, callers: tuple[Caller, Caller], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    ada, _ = callers
    store, look, looks = server.store, server.store.get_session, 0
    made: SessionRecord | None = None

    async def look_and_make_anew(pool: str, session: str) -> SessionRecord:
        nonlocal looks, made
        looks += 1
        record = await look(pool, session)
        if looks == 1:
            await store.delete_session(pool, session)
            await store.create_session(replace(record, uid="another life", owner=BOB), 10)
            await store.set_state(pool, session, "k", value(b"1"), None, LIMITS, None)
            made = await look(pool, session)
        return record

    monkeypatch.setattr(store, "get_session", look_and_make_anew)
    said = await answer(asked_of(ada, HERS)[what](), HERS)
    assert looks
    assert said == "" if what == "delete" else said.startswith(SessionNotFound.reason), said
    theirs, kept = await look(POOL, HERS), await store.get_state(POOL, HERS, "k", None)
    assert theirs == made, "nor does it live longer"
    assert (theirs.owner, theirs.uid, theirs.epoch) == (BOB, "another life", 1)
    assert kept is not None
    assert (kept.value.data, kept.version) == (b"1", 1)
