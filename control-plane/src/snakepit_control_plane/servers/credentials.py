"""Whose a client's link is, for as long as its token is good: the client is told how long that is, and sends the next one in time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from snakepit._tasks import Tasks
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.servers.door import Door

LOOK_SECONDS = 3600.0
"""A timer is set for no longer: clocks are set anew at times."""

log = logging.getLogger(__name__)


class Credentials:
    """`caller`: who it is now. `expired` is called when the last token has expired, `changed` when another has come."""

    def __init__(
        self,
        door: Door,
        caller: Caller,
        send: Callable[[link_pb2.Frame], None],
        changed: Callable[[], None],
        expired: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.caller = caller
        self._door = door
        self._send, self._changed, self._expired = send, changed, expired
        self._clock = clock
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._tell()

    def renew(self, token: str) -> None:
        """A token came. One that is not right changes nothing: the one before is good until it expires."""
        if not len(self._tasks):
            self._tasks.spawn(self._renew(token), name="check a new token")

    def closed(self) -> None:
        self._tasks.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _renew(self, token: str) -> None:
        try:
            caller = await self._door.gate.identify((("authorization", f"Bearer {token}"),), self.caller.name)
        except SnakepitError as error:
            log.warning("a new token of %s is not taken: %s", self.caller.subject, error)
            return
        if caller.subject != self.caller.subject:
            log.warning("a link of %s stays theirs: a token of %s is not taken", self.caller.subject, caller.subject)
            return
        self.caller = caller
        self._changed()
        self._tell()

    def _tell(self) -> None:
        if self.caller.expires < math.inf:
            left = max(0.0, self.caller.expires - self._clock())
            self._send(link_pb2.Frame(credentials=link_pb2.Credentials(seconds=left)))
            self._wait()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self.caller.expires - self._clock()
        if left <= 0:
            self._expired()
        else:
            self._timer = asyncio.get_running_loop().call_later(min(left, LOOK_SECONDS), self._wait)
