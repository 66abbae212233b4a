"""How many headers an RPC may make of what came, whoever counts them."""

from __future__ import annotations

import asyncio
import logging
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled, and has no stubs

from snakepit._wire.headers import HEADER_BYTES, LOOK_BYTES, MOST_BYTES, Maker, TooManyHeaders, bound_headers, bounded

Pair = namedtuple("Pair", "key value")

MOST = (LOOK_BYTES + MOST_BYTES) // HEADER_BYTES
GRPC_TAKES = 481
"""Headers, of 16 KiB with 32 for each, and names and values of a byte."""


@pytest.fixture
def make() -> Maker:
    return bounded(Pair)


def made(make: Maker, count: int, value: str = "") -> int:
    """Of so many, until it is too many."""
    for number in range(count):
        try:
            assert make("a", value) == Pair("a", value)
        except TooManyHeaders:
            return number
    return count


async def test_of_headers_without_end_a_bounded_number_is_made(make: Maker) -> None:
    assert made(make, 10 * MOST) <= MOST


async def test_of_long_headers_a_few_are_made(make: Maker) -> None:
    assert made(make, MOST, "x" * 16_000) <= MOST * HEADER_BYTES // 16_000


async def test_whoever_looks_twice_at_as_many_as_grpc_takes_gets_them_however_many_do(make: Maker) -> None:
    async def rpc() -> int:
        first = made(make, GRPC_TAKES)
        await asyncio.sleep(0)
        return first + made(make, GRPC_TAKES)

    assert await asyncio.gather(*[rpc() for _ in range(200)]) == [2 * GRPC_TAKES] * 200
    for _ in range(200):
        assert await asyncio.create_task(rpc()) == 2 * GRPC_TAKES


async def test_after_a_refusal_others_have_theirs(make: Maker) -> None:
    for _ in range(3):
        assert made(make, 10 * MOST) <= MOST
        assert await asyncio.create_task(asyncio.to_thread(int)) == 0
        assert await asyncio.create_task(some(make)) == GRPC_TAKES


async def some(make: Maker) -> int:
    return made(make, GRPC_TAKES)


def test_a_thread_that_asks_others_has_no_bound(make: Maker) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(made, make, 10 * MOST).result() == 10 * MOST


def test_grpcio_still_makes_its_headers_by_that_name() -> None:
    """Else there is no bound: look at how the new one makes them."""
    bound_headers()
    bound_headers()
    assert cygrpc._Metadatum("a", "b") == ("a", "b")  # noqa: SLF001  # grpcio's
    assert cygrpc._Metadatum("a", "b").key == "a"  # noqa: SLF001


def test_refusals_are_not_logged_and_other_errors_are(caplog: pytest.LogCaptureFixture) -> None:
    bound_headers()
    logger = logging.getLogger(cygrpc.__name__)
    for error in (TooManyHeaders("many"), ValueError("other")):
        try:
            raise error
        except Exception:
            logger.exception("Unexpected")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]
