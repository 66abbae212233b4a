"""Whose a client's link is, for as long as its token is good: the client is told how long that is, and sends the next one in time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from snakepit._retry import Backoff
from snakepit._tasks import Tasks
from snakepit.errors import PermissionDenied, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication.gate import with_bearer
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.servers.door import Door

LOOK_SECONDS = 3600.0
"""A timer is set for no longer: clocks are set anew at times."""

PAUSES = Backoff(1.0, 60.0)
"""After tokens of one link that were not right: looking at each costs time, and a line of the log."""

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
        self._next: str | None = None
        self._looks = False
        self._pause = 0.0

    def start(self) -> None:
        self._tell()

    def renew(self, token: str) -> None:
        """A token came. One that is not right changes nothing: the one before is good until it expires. While one is looked at, and for
        a pause after each that was not right, it is only the last one that comes which is looked at next."""
        self._next = token
        if not self._looks:
            self._looks = True
            self._tasks.spawn(self._look(), name="check a new token")

    def closed(self) -> None:
        self._tasks.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _look(self) -> None:
        try:
            while (token := self._next) is not None:
                self._next = None
                await self._try(token)
        finally:
            self._looks = False

    async def _try(self, token: str) -> None:
        try:
            await self._renew(token)
            self._pause = 0.0
        except SnakepitError as error:
            log.warning("a new token of %s is not taken: %s", self.caller.subject, error)
            self._pause = PAUSES.after(self._pause)
            await asyncio.sleep(self._pause)

    async def _renew(self, token: str) -> None:
        """Raises SnakepitError."""
        caller = await self._door.gate.identify(with_bearer(token), self.caller.name)
        if caller.subject != self.caller.subject:
            raise PermissionDenied(f"it is one of {caller.subject}, and the link stays theirs who opened it")
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
