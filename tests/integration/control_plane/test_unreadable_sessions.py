"""A session whose record in the store can't be read: who is told so, and who may delete it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from snakepit.errors import PermissionDenied, SessionNotFound, SnakepitError
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, DELETE_SESSION, LIST_SESSIONS
from snakepit_control_plane.server import Running, make_store
from support.callers import ADA, BOB, token
from support.control_plane import Caller, replica
from support.redis_server import RedisServer
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

HERS = "hers"
GARBAGE = {"a number that is none": ("epoch", "one"), "bytes that are no text": ("metadata", r'"\xff"'), "another form": ("metadata", "7")}

pytestmark = pytest.mark.parametrize("garbage", GARBAGE)


@pytest.fixture
async def server(own_redis: RedisServer, asking_settings: dict[str, Any]) -> AsyncIterator[Running]:
    async with replica(make_store(own_redis.url), **asking_settings) as running:
        yield running


@pytest.fixture
async def callers(
    server: Running, agent: SimulatedAgent, asks: Reviewer, own_redis: RedisServer, garbage: str
) -> AsyncIterator[tuple[Caller, Caller]]:
    """Ada, who has a session into which somebody has written, and Bob. Both may call."""
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    async with grpc.aio.insecure_channel(server.address) as channel:
        ada, bob = Caller(channel, token(ADA)), Caller(channel, token(BOB))
        await ada.create(HERS)
        write(own_redis, *GARBAGE[garbage])
        yield ada, bob


def write(redis: RedisServer, *field: str) -> None:
    redis.command("HSET", f"snakepit:{{{POOL}}}:session:{HERS}", *field)


def asked_by(caller: Caller) -> list[Any]:
    """Whatever needs the session's record; not awaited yet."""
    return [caller.session(HERS), caller.create(HERS), caller.rebind(HERS), caller.call("echo", {"a": 1}, session_id=HERS)]


async def test_its_maker_is_told_so_and_who_has_to_delete_it_and_others_that_there_is_none(callers: tuple[Caller, Caller]) -> None:
    ada, bob = callers
    for asked in [*asked_by(ada), ada.delete(HERS)]:
        with pytest.raises(SnakepitError, match=r"record of session 'hers' .* whoever may .* \(delete snakepools/sessions\) must") as told:
            await asked
        assert told.value.reason == "INTERNAL"
    for asked in asked_by(bob):
        with pytest.raises(SessionNotFound):
            await asked
    assert not await bob.delete(HERS)


async def test_a_list_of_others_sessions_leaves_it_out_and_each_other_list_says_so(
    callers: tuple[Caller, Caller], server: Running, asks: Reviewer
) -> None:
    ada, bob = callers
    await bob.create("a")
    await bob.create("z")
    assert [each.id for each in await bob.listed()] == ["a", "z"]
    with pytest.raises(SnakepitError, match="record of session 'hers'"):
        await ada.listed()
    asks.give(BOB, LIST_SESSIONS)
    server.door.access.forget()
    with pytest.raises(SnakepitError, match="record of session 'hers'"):
        await bob.listed()


async def test_who_may_do_nothing_in_the_pool_is_told_that_and_no_more(
    callers: tuple[Caller, Caller], server: Running, asks: Reviewer
) -> None:
    _, bob = callers
    asks.take(BOB, CALL)
    server.door.access.forget()
    for asked in [*asked_by(bob), bob.delete(HERS)]:
        with pytest.raises(PermissionDenied):
            await asked


async def test_whoever_may_delete_others_sessions_deletes_it_and_its_name_is_free(
    callers: tuple[Caller, Caller], server: Running, asks: Reviewer
) -> None:
    ada, bob = callers
    asks.give(BOB, CHANGE_SESSION)
    server.door.access.forget()
    with pytest.raises(SnakepitError, match="can't be read"):
        await bob.call("echo", {"a": 1}, session_id=HERS)
    assert not await bob.delete(HERS), "to change others' sessions is not to delete them"
    asks.give(BOB, DELETE_SESSION)
    server.door.access.forget()
    assert await bob.delete(HERS)
    assert (await ada.create(HERS)).created


async def test_where_it_says_of_nobody_whose_it_is_each_caller_is_told(callers: tuple[Caller, Caller], own_redis: RedisServer) -> None:
    own_redis.command("HDEL", f"snakepit:{{{POOL}}}:session:{HERS}", "owner", "uid")
    for caller in callers:
        for asked in [*asked_by(caller), caller.delete(HERS)]:
            with pytest.raises(SnakepitError, match="can't be read"):
                await asked
