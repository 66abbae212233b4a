"""What a caller's own mistakes are told, before anything is sent; and how the SDK's objects and words print."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import snakepit
from snakepit import Client, InvalidArguments, Pool, SnakepitError, Started, WorkerLost
from snakepit.sync import Client as SyncClient
from snakepit.v1 import common_pb2

NOWHERE = "localhost:1"


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with Client(NOWHERE) as client:
        yield client.pool("digits")


WRONG: list[tuple[str, Callable[[Any], Any], str]] = [
    ("timeout", lambda pool: pool.call("t", timeout="5"), "timeout '5' must be a positive number of seconds, or None for the pool's own"),
    (
        "timedelta",
        lambda pool: pool.call("t", timeout=timedelta(seconds=5)),
        r"timeout datetime\.timedelta\(seconds=5\) must be a positive",
    ),
    ("no timeout", lambda pool: pool.call("t", timeout=0), "timeout 0 must be a positive number"),
    ("NaN", lambda pool: pool.call("t", timeout=math.nan), "timeout nan must be a positive number"),
    ("of a stream", lambda pool: anext(pool.stream("t", timeout="5")), "timeout '5' must be a positive number"),
    ("tool", lambda pool: pool.call(3), "tool name 3 must be text, not int"),
    ("arguments", lambda pool: pool.call("t", [1]), "arguments must be a mapping of the tool's argument names to values, not list"),
    ("key", lambda pool: pool.call("t", idempotency_key=7), "idempotency_key 7 must be text, not int"),
    ("metadata", lambda pool: pool.call("t", metadata={"n": 1}), "metadata 'n' 1 must be text, not int"),
    ("all metadata", lambda pool: pool.call("t", metadata=["n"]), "metadata must be a mapping of names to texts, not list"),
    ("priority", lambda pool: pool.call("t", priority=["high"]), r"priority \['high'\] is unknown: use high, normal or low"),
    ("session", lambda pool: made(pool.session(3)), "session id 3 must be text, not int"),
    ("affinity", lambda pool: made(pool.session("s", affinity=3)), "affinity 3 is unknown: use hint, strict_queue or strict_fail_fast"),
    ("ttl", lambda pool: pool.session("s", ttl_seconds="5").create(), "ttl_seconds '5' must be a number of seconds, or None"),
    ("state", lambda pool: pool.session("s").state.get(3), "state key 3 must be text, not int"),
]


async def made(value: object) -> object:
    return value


@pytest.mark.parametrize(("call", "sentence"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_a_value_of_a_wrong_type_is_refused_with_its_name(pool: Pool, call: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(InvalidArguments, match=sentence) as caught:
        await call(pool)
    assert caught.value.started is Started.NO


async def test_seconds_may_be_any_number(pool: Pool) -> None:
    for seconds in (Decimal("0.05"), 0.05):
        with pytest.raises(SnakepitError) as caught:
            await pool.call("t", timeout=seconds)  # type: ignore[arg-type]
        assert not isinstance(caught.value, InvalidArguments)


async def test_arguments_of_the_tool_that_are_given_as_keywords_are_told_where_they_belong(pool: Pool) -> None:
    with pytest.raises(
        TypeError, match=r"call\(\) has no option 'csv': the tool's arguments are one mapping, call\('load', {'csv': \.\.\.}\)"
    ):
        await pool.call("load", csv="a,b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"stream\(\) has no option 'timeot': did you mean 'timeout'\?"):
        pool.stream("load", timeot=3)  # type: ignore[arg-type]


async def test_a_pool_that_is_no_name_is_refused() -> None:
    async with Client(NOWHERE) as client:
        with pytest.raises(InvalidArguments, match="pool's name 3 must be text, not int"):
            client.pool(3)  # type: ignore[arg-type]


def test_a_server_that_is_no_text_is_refused_with_an_example() -> None:
    with pytest.raises(InvalidArguments, match=r"server 7800 is not an address: write 'host:port', e\.g\. 'localhost:7800'"):
        Client(7800)  # type: ignore[arg-type]


async def test_an_unopened_client_says_how_it_is_opened() -> None:
    with pytest.raises(SnakepitError, match=r"use it inside `async with snakepit.Client\(\.\.\.\) as client`"):
        Client(NOWHERE).pool("digits")


def test_an_unopened_client_without_await_says_so_in_its_own_words() -> None:
    for use in (lambda client: client.pool("digits"), lambda client: client.pools(), lambda client: client.offer(print, pool="digits")):
        with pytest.raises(SnakepitError, match=r"use it inside `with snakepit\.sync\.Client\(\.\.\.\) as client`"):
            use(SyncClient(NOWHERE))


def test_what_an_object_without_await_has_not_is_said_of_it_and_not_of_what_is_behind() -> None:
    with SyncClient(NOWHERE) as client:
        with pytest.raises(AttributeError, match=r"^snakepit\.sync\.Client has no 'pol'$"):
            _ = client.pol
        with pytest.raises(AttributeError, match=r"^snakepit\.sync\.Pool has no 'cal'$") as caught:
            _ = client.pool("digits").cal
    assert (caught.value.name, "call" in dir(caught.value.obj)) == ("cal", True)


async def test_objects_say_what_they_are(pool: Pool) -> None:
    assert repr(pool) == "Pool('default/digits')"
    assert repr(pool.stream("count")) == "Stream('count', pool='default/digits')"
    assert repr(pool.session("ada")) == "Session('ada', pool='default/digits')"
    assert repr(Client(NOWHERE)) == "Client('localhost:1', not open)"
    async with Client(NOWHERE) as client:
        assert repr(client) == "Client('localhost:1')"


def test_objects_without_await_say_so() -> None:
    with SyncClient(NOWHERE) as client:
        assert repr(client) == "snakepit.sync.Client('localhost:1')"
        assert repr(client.pool("digits").session("ada")) == "snakepit.sync.Session('ada', pool='default/digits')"


def test_whether_a_call_started_is_a_word_that_has_a_number_on_the_wire() -> None:
    error = WorkerLost("gone", started=Started.MAYBE)
    assert (f"{error.started}", str(error.started), error.started == "maybe") == ("maybe", "maybe", True)
    assert [Started.of(int(each)) for each in Started] == list(Started)
    names = [common_pb2.Started.Name(int(each)) for each in Started]  # type: ignore[arg-type]
    assert names == ["STARTED_UNSPECIFIED", "STARTED_NO", "STARTED_MAYBE", "STARTED_YES"]
    assert Started.of(17) is Started.UNKNOWN


def test_a_snapshot_can_be_named_where_one_is_taken() -> None:
    assert snakepit.Snapshot.__name__ == "Snapshot"
