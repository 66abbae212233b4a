"""Requests that don't come, by themselves: how many are let go at a time. By a server: tests/integration/control_plane/test_arrivals.py."""

from __future__ import annotations

import asyncio
from typing import Any

from snakepit.errors import DeadlineExceeded
from snakepit_control_plane.servers.arrivals import AT_ONCE, Arrivals
from support import virtual_time

COUNT = 20 * AT_ONCE


class Silent:
    """The context of an RPC whose message never comes."""

    async def read(self) -> Any:
        await asyncio.get_running_loop().create_future()


def test_requests_that_are_late_together_are_let_go_in_turns_with_others_between_them() -> None:
    """Or whoever opens them keeps everybody waiting for all of their refusals."""

    async def play() -> None:
        arrivals, told = Arrivals(2), list[float]()

        async def one() -> None:
            try:
                await arrivals.read(Silent())  # type: ignore[arg-type]
            except DeadlineExceeded:
                told.append(loop.time() - began)

        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = [asyncio.create_task(arrivals.run()), *(asyncio.create_task(one()) for _ in range(COUNT))]
        await asyncio.sleep(2.5)
        assert told == []
        most = since = 0
        await asyncio.sleep(0.5)
        while len(told) < COUNT:
            await asyncio.sleep(0)
            most, since = max(most, len(told) - since), len(told)
        assert 0 < most <= AT_ONCE
        assert set(told) == {3.0}
        assert len(arrivals) == 0
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_time.run(play())
