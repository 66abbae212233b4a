"""Large arguments, fetched before their call goes to its worker: until then the call has not started, and its bytes are at its caller.

One task for each such call, bounded by the slots. What becomes of the call is decided by whoever owns it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from snakepit._ipc.frames import CallFailure
from snakepit._ipc.sections import total
from snakepit._ipc.worker import CallFrame
from snakepit.errors import Started
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.link.bulk import Broken, Route, Stalled, fetch_arguments
from snakepit_agent.link.translate import failure
from snakepit_agent.model.call import HeldCall

ROOM_SETTING = "SNAKEPIT_LARGE_BYTES"

log = logging.getLogger(__name__)

Deliver = Callable[[HeldCall, CallFrame, int], None]
Failed = Callable[[HeldCall, CallFailure | None], None]


@dataclass
class _Fetch:
    held: HeldCall
    task: asyncio.Task[None]


class Arguments:
    """`deliver` gets the call with the descriptor of its arguments, which is then its own. `failed(held, failure)`: they can't be had;
    without a failure, another attempt may succeed."""

    def __init__(self, budget: MemoryBudget, deliver: Deliver, failed: Failed) -> None:
        self._budget = budget
        self._deliver = deliver
        self._failed = failed
        self.fetches: dict[int, _Fetch] = {}
        self.sizes: dict[int, int] = {}

    def fetch(self, held: HeldCall, frame: CallFrame, route: Route | None) -> None:
        """`held` is admitted; `frame` has its sections. `route` None: its replica has gone, and the link's end will settle the call."""
        size = total(frame.sections)
        if size > self._budget.limit:
            message = f"the arguments have {size} bytes, and this capsule's agent takes {self._budget.limit} ({ROOM_SETTING})"
            details = {"limit": ROOM_SETTING, "bytes": str(self._budget.limit)}
            self._failed(held, failure("PAYLOAD_TOO_LARGE", message, Started.NO, details))
        elif route is not None:
            task = asyncio.create_task(self._run(held, frame, size, route), name=f"arguments of call {held.remote}")
            self.fetches[held.id] = _Fetch(held, task)

    def drop(self, id_: int) -> bool:
        """Fetch no more. True: the call had not gone to its worker."""
        fetch = self.fetches.pop(id_, None)
        if fetch is not None:
            fetch.task.cancel()
        return fetch is not None

    def drop_of(self, incarnation: str) -> list[int]:
        """That worker is dead: the calls that had not gone to it."""
        return [id_ for id_, fetch in list(self.fetches.items()) if fetch.held.incarnation == incarnation and self.drop(id_)]

    def count_of(self, incarnation: str) -> int:
        return sum(fetch.held.incarnation == incarnation for fetch in self.fetches.values())

    def ended(self, id_: int) -> None:
        """The call is here no more: so are its arguments."""
        size = self.sizes.pop(id_, 0)
        if size:
            self._budget.leave(size)

    async def close(self) -> None:
        tasks = [fetch.task for fetch in self.fetches.values()]
        for id_ in list(self.fetches):
            self.drop(id_)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, held: HeldCall, frame: CallFrame, size: int, route: Route) -> None:
        descriptor, problem = -1, None
        await self._budget.enter(size)
        self.sizes[held.id] = size
        try:
            descriptor = await fetch_arguments(route, frame.sections)
        except Stalled:
            idle = f"{route.idle_seconds:g} s (call.streamIdleSeconds)"
            details = {"limit": "call.streamIdleSeconds"}
            problem = failure("DEADLINE", f"nothing more of the arguments came for {idle}", Started.NO, details)
        except Broken:
            pass  # The router sends the call again, if its caller is still there.
        except Exception as error:
            log.exception("the arguments of a call can't be held")
            problem = failure("INTERNAL", f"the arguments can't be held by the agent: {error}", Started.NO)
        del self.fetches[held.id]
        if descriptor >= 0:
            self._deliver(held, frame, descriptor)
        else:
            self._failed(held, problem)
