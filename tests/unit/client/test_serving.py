"""Calls that offered functions make."""

from __future__ import annotations

import asyncio
import contextvars
import math
from typing import Any

import pytest

from snakepit.client.connection import Connection
from snakepit.client.peers import Peers
from snakepit.client.within import Within, earlier, within


def _inside(until: float, reason: str = "") -> contextvars.Context:
    """Where an offered function runs."""
    nothing: Any = None
    context = contextvars.copy_context()
    context.run(within.set, Within(nothing, nothing, nothing, until, reason=reason))
    return context


@pytest.mark.parametrize(("asked", "given"), [(None, 5.0), (8.0, 5.0), (3.0, 3.0)])
def test_a_call_that_an_offered_function_makes_ends_no_later_than_the_functions_own(asked: float | None, given: float) -> None:
    assert _inside(until=5.0).run(earlier, asked) == given


@pytest.mark.parametrize("asked", [None, 8.0])
def test_a_call_has_all_of_its_time_where_nothing_is_around_it_or_that_has_no_deadline_or_was_told_to_stop(asked: float | None) -> None:
    assert earlier(asked) == asked
    assert _inside(until=math.inf).run(earlier, asked) == asked
    assert _inside(until=5.0, reason="DEADLINE").run(earlier, asked) == asked


async def test_what_is_left_of_the_functions_time_goes_out_with_the_calls_that_it_makes() -> None:
    peers = Peers("127.0.0.1:1", token_file=None, connect_seconds=3.0)
    connection = Connection(peers)
    now = asyncio.get_running_loop().time()
    try:
        peers.start()
        assert _inside(until=now + 1).run(connection.tries, now + 60).deadline == now + 1
    finally:
        await connection.stop()
