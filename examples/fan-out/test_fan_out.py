"""The comparison with sellers of the test's own, in the test's process and in a real worker. `pytest examples/fan-out`."""

import asyncio
from collections.abc import Iterator

import pytest

import snakepit.testing
import snakepit_worker.testing
from comparing.tools import AT_ONCE, SELLERS, Compare
from snakepit import ToolError


def in_a_worker(adapter: type[Compare]):
    return snakepit_worker.testing.start(adapter, profile="thread", slots=2)


@pytest.fixture(params=[snakepit.testing.start, in_a_worker], ids=["in this process", "in a worker"])
def compare(request: pytest.FixtureRequest) -> Iterator[snakepit.testing.Harness | snakepit_worker.testing.LocalWorker]:
    with request.param(Compare) as compare:
        yield compare


def test_each_price_and_each_failure_is_told(compare) -> None:
    def price(seller: str, item: str) -> float:
        return {"ada": 4.5, "bob": 4.2}[seller]

    compare.offer(price, pool=SELLERS)
    assert compare.call("compare", {"item": "tea", "sellers": ["ada", "bob", "eve"]}) == {
        "prices": {"ada": 4.5, "bob": 4.2},
        "failures": {"eve": "TOOL_ERROR"},
    }


def test_who_is_slow_costs_the_others_nothing_and_the_answer_is_in_time(compare) -> None:
    async def price(seller: str, item: str) -> float:
        await asyncio.sleep(60 if seller == "sleepy" else 0)
        return 1.0

    compare.offer(price, pool=SELLERS)
    found = compare.call("compare", {"item": "tea", "sellers": ["sleepy", "ada"]}, timeout=1.5)
    assert found == {"prices": {"ada": 1.0}, "failures": {"sleepy": "DEADLINE"}}


def test_without_any_price_it_fails(compare) -> None:
    def price(seller: str, item: str) -> float:
        raise KeyError(seller)

    compare.offer(price, pool=SELLERS)
    with pytest.raises(ToolError, match=r"none of 1 sellers: \{'eve': 'TOOL_ERROR'\}"):
        compare.call("compare", {"item": "tea", "sellers": ["eve"]})


def test_no_more_than_so_many_are_asked_at_once() -> None:
    running, most = 0, 0

    async def price(seller: str, item: str) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return 1.0

    with snakepit.testing.start(Compare) as compare:
        compare.offer(price, pool=SELLERS)
        found = compare.call("compare", {"item": "tea", "sellers": [str(number) for number in range(3 * AT_ONCE)]})
    assert len(found["prices"]) == 3 * AT_ONCE
    assert 1 < most <= AT_ONCE
