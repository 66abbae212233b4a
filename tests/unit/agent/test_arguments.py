"""Large arguments in the agent: whatever goes wrong while they are fetched, their call has an end."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any, cast

import grpc
import pytest

from snakepit._ipc.frames import CallFailure, Payload
from snakepit._ipc.worker import CallFrame
from snakepit._wire.bulk import LaneBroken
from snakepit.errors import Started
from snakepit_agent.calls.arguments import Arguments
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.link.bulk import Route
from snakepit_agent.model.call import HeldCall

HELD = HeldCall(id=1, remote=10, replica="r", incarnation="w", call_id="c", tool="t")
FRAME = CallFrame(id=1, call_id="c", tool="t", arguments=Payload(b""), sections=(4,))


class Failing(Route):
    """No stream can be opened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(cast(Any, None), 10, 60.0)
        object.__setattr__(self, "error", error)

    async def open(self, **first: Any) -> Any:
        raise self.error  # type: ignore[attr-defined]  # a frozen dataclass


async def fetch(error: Exception) -> tuple[HeldCall, CallFailure | None]:
    failed: asyncio.Future[tuple[HeldCall, CallFailure | None]] = asyncio.get_running_loop().create_future()
    arguments = Arguments(MemoryBudget(100), lambda *_: pytest.fail("there is nothing to deliver"), lambda *how: failed.set_result(how))
    arguments.fetch(HELD, FRAME, Failing(error))
    async with asyncio.timeout(10):
        how = await failed
    assert not arguments.count_of("w")
    return how


async def test_a_call_whose_arguments_are_on_a_link_that_ends_is_sent_again() -> None:
    assert await fetch(LaneBroken(grpc.StatusCode.UNAVAILABLE, "the link has ended")) == (HELD, None)


async def test_a_call_whose_arguments_can_not_be_held_fails_and_says_that_it_has_not_started(caplog: pytest.LogCaptureFixture) -> None:
    held, problem = await fetch(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert held is HELD
    assert problem is not None
    assert (problem.reason, problem.started) == ("INTERNAL", int(Started.NO))
    assert "Too many open files" in problem.message
    assert "can't be held" in caplog.text
