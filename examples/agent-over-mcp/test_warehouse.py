"""The tools that the agent gets. `pytest examples/agent-over-mcp`."""

from collections.abc import Iterator

import pytest

import snakepit.testing
from snakepit import InvalidArguments, ToolError
from warehouse.tools import Warehouse


@pytest.fixture
def warehouse() -> Iterator[snakepit.testing.Harness]:
    with snakepit.testing.start(Warehouse) as warehouse:
        yield warehouse


def test_each_session_has_a_basket(warehouse) -> None:
    assert warehouse.call("reserve", {"item": "tea", "count": 5}, session_id="ada") == {"tea": 5}
    assert warehouse.call("reserve", {"item": "milk", "count": 1}, session_id="ada") == {"tea": 5, "milk": 1}
    assert warehouse.call("reserve", {"item": "tea", "count": 1}, session_id="bob") == {"tea": 1}


def test_a_refusal_says_what_would_do(warehouse) -> None:
    warehouse.call("reserve", {"item": "tea", "count": 10}, session_id="ada")
    with pytest.raises(ToolError, match="there are 12 of tea, and 13 would be reserved: reserve fewer"):
        warehouse.call("reserve", {"item": "tea", "count": 3}, session_id="ada")
    assert warehouse.state.value("ada", "basket") == {"tea": 10}
    with pytest.raises(InvalidArguments, match="count"):
        warehouse.call("reserve", {"item": "tea", "count": 0}, session_id="ada")


def test_everything_can_be_put_back(warehouse) -> None:
    warehouse.call("reserve", {"item": "tea", "count": 10}, session_id="ada")
    assert warehouse.call("empty", session_id="ada") is True
    assert warehouse.call("reserve", {"item": "tea", "count": 12}, session_id="ada") == {"tea": 12}
