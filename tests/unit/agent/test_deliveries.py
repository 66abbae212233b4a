"""An agent's stream for one call: nothing of it is left when it is given up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from snakepit_agent.link.bulk import Delivery, Route


class Silent:
    """A stream on which nothing ever comes."""

    def be_patient(self, seconds: float) -> None:
        """Nothing is written."""

    async def read(self) -> Any:
        await asyncio.Event().wait()

    def cancel(self) -> bool:
        return True


class ToNobody(Route):
    async def open(self, **_: Any) -> Any:
        return Silent()


async def test_a_stream_that_is_given_up_while_it_waits_for_its_tool_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    ended: list[str] = []
    delivery = Delivery(ToNobody(cast(Any, None), 1, 60.0), lambda _: None, lambda: None, ended.append)
    while len(asyncio.all_tasks() - before) < 2:  # Its own, and one that reads.
        await asyncio.sleep(0)
    delivery.abort()
    await asyncio.gather(delivery.task, return_exceptions=True)
    await asyncio.sleep(0)
    assert ended == ["aborted"]
    assert asyncio.all_tasks() == before
