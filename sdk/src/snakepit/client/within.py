"""The call of an offered function, while it runs: for the calls that the function itself makes."""

from __future__ import annotations

import asyncio
import contextvars
import math
from concurrent.futures import Future
from dataclasses import dataclass, field

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._wire.window import Window
from snakepit.author.pending_call import PendingCall, ToolRequest
from snakepit.author.tools import Tool
from snakepit.client.peer import Peer
from snakepit.errors import InvalidArguments
from snakepit.v1 import link_pb2


@dataclass(eq=False)
class Within:
    """The call of an offered function, for the calls that the function itself makes. `reason`: why it is to stop.

    `until`: its deadline, of the loop's clock.
    """

    peer: Peer
    call: link_pb2.Call
    runs: Tool
    until: float
    window: Window = field(default_factory=Window)
    reason: str = ""
    task: asyncio.Task[None] | None = None

    def stop(self, reason: str) -> None:
        self.reason = reason or "CANCELLED"
        self.window.lift()
        if self.task is not None:
            self.task.cancel()

    # ---- the runtime of the function's context

    def interruption(self) -> str:
        return self.reason

    def progress(self, fraction: float, message: str) -> None:
        """Nobody listens: the worker that asked waits for the answer."""

    def state(self, operation: str, key: str, value: Payload | None, expected_version: int) -> Future[StateAnswer]:
        raise InvalidArguments("an offered function has no ctx.state: use session.state of the client")

    def state_soon(self, operation: str, key: str, value: Payload | None, expected_version: int) -> asyncio.Future[StateAnswer]:
        raise InvalidArguments("an offered function has no ctx.state: use session.state of the client")

    def tool(self, request: ToolRequest) -> PendingCall:
        raise InvalidArguments("an offered function has no ctx.call_tool: call tools through the client")


within: contextvars.ContextVar[Within | None] = contextvars.ContextVar("snakepit_within", default=None)
"""Set while an offered function runs."""


def around() -> tuple[Peer, str] | None:
    """A call that an offered function makes is nested in the one that it serves: the replica it goes to, and that one's call_id."""
    serves = within.get()
    return None if serves is None or serves.reason or not serves.peer.link.is_open else (serves.peer, serves.call.call_id)


def earlier(deadline: float | None) -> float | None:
    """The deadline of a call that is made now: no later than that of the offered function which makes it.

    The replica sees to that too, but not where it has just given the function up. What a function does after it was told to stop
    is its own.
    """
    serves = within.get()
    if serves is None or serves.reason or serves.until == math.inf:
        return deadline
    return serves.until if deadline is None else min(deadline, serves.until)
