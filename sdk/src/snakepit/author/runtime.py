"""What a running tool's context is made of, and what it needs of whoever runs the call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit.author.pending_call import PendingCall, ToolRequest

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future


class Interrupted(BaseException):
    """The call is over: its caller has gone, or its deadline has passed (`reason`: CANCELLED or DEADLINE). Clean up and let it through.

    Not an Exception, so that a tool's `except Exception` doesn't keep it running.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the deadline has passed" if reason == "DEADLINE" else "the caller has cancelled")
        self.reason = reason


class Caller(msgspec.Struct, frozen=True):
    """Who calls a tool, as the control plane has checked: a service account, say, `system:serviceaccount:shop:web`, and its groups.

    `subject` is empty where callers aren't asked who they are.
    """

    subject: str = ""
    groups: tuple[str, ...] = ()


class CallInfo(msgspec.Struct, frozen=True):
    """The call as its tool sees it. `deadline`: seconds of time.monotonic(); None: none."""

    call_id: str
    tool: str
    session_id: str = ""
    session_epoch: int = 0
    metadata: Mapping[str, str] = {}
    deadline: float | None = None
    session_uid: str = ""
    caller: Caller = Caller()


class Runtime(Protocol):
    """What a context needs of whoever runs the call."""

    def interruption(self) -> str:
        """CANCELLED, DEADLINE, or nothing."""

    def progress(self, fraction: float, message: str) -> None:
        """Pass it on; never blocks for an answer."""

    def state(self, operation: str, key: str, value: Payload | None, expected_version: int) -> Future[StateAnswer]:
        """Carry out get, set, delete or keys on the call's session."""

    def state_soon(self, operation: str, key: str, value: Payload | None, expected_version: int) -> asyncio.Future[StateAnswer]:
        """The same from a task of the running loop; the operations of one of its turns may leave together."""

    def tool(self, request: ToolRequest) -> PendingCall:
        """Have a tool called; its chunks and its answer come through the PendingCall."""


def remaining(call: CallInfo) -> float | None:
    """Seconds until the call's deadline, never negative; None: it has none."""
    return None if call.deadline is None else max(0.0, call.deadline - time.monotonic())


def check_interrupted(call: CallInfo, runtime: Runtime) -> None:
    """Raises Interrupted when the caller has gone or the deadline has passed."""
    reason = runtime.interruption() or ("DEADLINE" if remaining(call) == 0.0 else "")
    if reason:
        raise Interrupted(reason)
