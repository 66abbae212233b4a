"""What calls of one link wait for, before they are taken: whose they are, and whether they may go to their pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from snakepit._tasks import Tasks
from snakepit._wire.status import to_frame
from snakepit._wire.turns import Turns
from snakepit.errors import Draining, PoolSaturated, SnakepitError, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import LOOK_AGAIN_SECONDS
from snakepit_control_plane.servers.door import Door

MOST_WAITING = 1000
MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Calls of a link that may wait, and what they may hold."""

MOST_KNOWN = 8192
"""Pools, and callers of them, that a link knows of to be right."""

MOST_NAMED = 4096
KEPT_NAME_BYTES = 512
"""Callers that a link may pass calls on of, and knows by their names: so many, of names and groups that are no longer than this."""

Key = str | tuple[str, str] | tuple[str, str, tuple[str, ...], bool]
"""What calls wait for: a pool, for the link's own; whose a token is; a pool, for somebody whose calls are passed on."""

Send = Callable[[link_pb2.Frame], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """`who`: whose call it is, where that is known."""

    frame: link_pb2.Frame
    who: Caller | None
    size: int


class Held:
    """Calls of one link that wait, by what they wait for, in the order in which they came."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.waiting: dict[Key, list[Waiting]] = {}
        self._count = self._bytes = 0
        self.tasks = Tasks()

    def add(self, key: Key, frame: link_pb2.Frame, who: Caller | None = None) -> bool:
        """True: it is the first that waits for this. One that is too much is refused."""
        size = frame.ByteSize()
        if self._count >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES:
            self.refuse(frame, PoolSaturated("too many calls of this link wait for whether they are allowed", retry_after=0.5))
            return False
        first = key not in self.waiting
        self._count, self._bytes = self._count + 1, self._bytes + size
        self.waiting.setdefault(key, []).append(Waiting(frame, who, size))
        return first

    def take(self, key: Key) -> list[Waiting]:
        taken = self.waiting.pop(key, [])
        self._count, self._bytes = self._count - len(taken), self._bytes - sum(each.size for each in taken)
        return taken

    def fail(self, key: Key, error: SnakepitError) -> None:
        for each in self.take(key):
            self.refuse(each.frame, error)

    def cancel(self, id_: int) -> bool:
        """The call is not to go on; False: it isn't one that waits."""
        for waiting in self.waiting.values():
            if found := [each for each in waiting if each.frame.call.id == id_]:
                waiting.remove(found[0])
                self._count, self._bytes = self._count - 1, self._bytes - found[0].size
                return True
        return False

    def finish(self) -> None:
        """What waits is sent away: to another replica."""
        for key in list(self.waiting):
            self.fail(key, Draining("this replica stops: dial another"))

    def closed(self) -> None:
        self.tasks.cancel()
        self.waiting.clear()

    def refuse(self, frame: link_pb2.Frame, error: SnakepitError) -> None:
        result = link_pb2.Result(id=frame.call.id, call_id=frame.call.call_id, error=to_frame(error))
        self._send(link_pb2.Frame(result=result))


class PassedOn:
    """Whose the calls of one link are that are not its own's: by name, or by a token that comes with them. `go_on` gets each call that
    waited for that, in order. `turns`: of all links, of which one checks a token at a time: a message may have a thousand, and each costs
    up to a millisecond."""

    def __init__(self, door: Door, held: Held, turns: Turns, go_on: Callable[[Caller, link_pb2.Frame], None]) -> None:
        self._door, self._held, self._turns, self._go_on = door, held, turns, go_on
        self._named: dict[bytes, Caller] = {}
        self._in_line = asyncio.Lock()  # One of this link's tokens: others' links wait for one of it, and not for all.

    def whose(self, bearer: Caller, frame: link_pb2.Frame) -> Caller | None:
        """None: not now; the call is refused, or goes on later. `bearer`: the link's own. Raises SnakepitError."""
        call = frame.call
        if not (token := call.caller.token):
            return self._by_name(bearer, call)
        key = ("token", token)
        if key not in self._held.waiting and (found := self._door.known(bearer, call)) is not None:
            return found
        if self._held.add(key, frame):
            self._held.tasks.spawn(self._ask(key, bearer, call), name="whose is a token?")
        return None

    def forget(self) -> None:
        """The link's bearer is another, or has other groups."""
        self._named.clear()

    def _by_name(self, bearer: Caller, call: link_pb2.Call) -> Caller | None:
        """A name is looked at once for all of its calls: each time would cost them a tenth. Whether it may be used is not asked here; but
        one that may not is not kept: of thousands of links that would be gigabytes."""
        said = call.caller.SerializeToString()
        if (kept := self._named.get(said)) is not None:
            return kept
        found = self._door.known(bearer, call)
        if found is not None and len(said) <= KEPT_NAME_BYTES and self._door.bearer_known(found, bearer):
            if len(self._named) >= MOST_NAMED:
                self._named.clear()
            self._named[said] = found
        return found

    async def _ask(self, key: Key, bearer: Caller, call: link_pb2.Call) -> None:
        try:
            async with self._in_line:
                await self._turns.turn()
            who = await self._door.whose(bearer, call)
        except SnakepitError as error:
            self._held.fail(key, error)
            return
        for each in self._held.take(key):
            self._go_on(who, each.frame)


class PoolRights:
    """Which pools the calls of one link may go to. `go_on` gets each call that waited for the answer, in order, when it is yes."""

    def __init__(
        self,
        door: Door,
        held: Held,
        go_on: Callable[[Caller, link_pb2.Frame, bool], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._door, self._held, self._go_on, self._wall = door, held, go_on, wall
        self._allowed: dict[Key, float] = {}
        self._with_sessions: dict[Key, tuple[float, bool]] = {}

    def allow(self, who: Caller, pool: str, frame: link_pb2.Frame, now: float) -> bool | None:
        """May the call go on, and use others' sessions? None: not now; it is refused, or goes on later. `pool`: its whole name."""
        key: Key = pool if who.bearer is None else (pool, who.subject, who.groups, who.has_token)
        session = frame.call.session_id
        if key in self._held.waiting:
            known = None
        else:
            if self._allowed.get(key, 0.0) > now:
                if not session or not who.subject:
                    return False
                until, any_session = self._with_sessions.get(key, (0.0, False))
                if until > now:
                    return any_session
            known = self._door.known_to_call(who, pool, session)
        if known is not None:
            self._learn(key, session, known, now)
        elif self._held.add(key, frame, who):
            self._held.tasks.spawn(self._ask(key, who, pool), name="may a link's calls go to a pool?")
        return known

    def forget(self) -> None:
        """Look at everything again: the caller may be in other groups now."""
        self._allowed.clear()
        self._with_sessions.clear()

    async def _ask(self, key: Key, who: Caller, pool: str) -> None:
        """Until none waits: those that came meanwhile may be the first with a session."""
        while waiting := self._held.waiting.get(key):
            session = next((each.frame.call.session_id for each in waiting if each.frame.call.session_id), "")
            try:
                any_session = await self._door.may_call(who, pool, session)
            except SnakepitError as error:
                self._held.fail(key, error)
                return
            self._learn(key, session, any_session, asyncio.get_running_loop().time())
            if not session and any(each.frame.call.session_id for each in waiting):
                continue
            for each in self._held.take(key):
                self._take(each, any_session)
        self._held.take(key)

    def _take(self, waited: Waiting, any_session: bool) -> None:
        assert waited.who is not None
        if waited.who.has_token and waited.who.expires <= self._wall():
            self._held.refuse(waited.frame, Unauthenticated(f"the token of {waited.who.subject} has expired while its call waited"))
        else:
            self._go_on(waited.who, waited.frame, any_session)

    def _learn(self, key: Key, session: str, any_session: bool, now: float) -> None:
        if len(self._allowed) >= MOST_KNOWN:
            self.forget()
        self._allowed[key] = now + LOOK_AGAIN_SECONDS
        if session:
            self._with_sessions[key] = now + LOOK_AGAIN_SECONDS, any_session
