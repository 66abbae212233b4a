"""Calls of a link that wait for whose they are: their order, their bounds, and what ends their waiting."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from snakepit._wire.turns import Turns
from snakepit.errors import InvalidArguments, ServerUnavailable, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import Answer, Right
from snakepit_control_plane.servers import held as module
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.held import Held, PassedOn, PoolRights
from support.virtual_time import VirtualLoop

GATEWAY = Caller("gateway", "gateway")
SECOND = 1.0


class SlowGate(Gate):
    """Tokens are whose name they have. Each takes a second to be looked at for the first time; `away`: the keys can't be had."""

    def __init__(self) -> None:
        self.checked: set[str] = set()
        self.asked: list[str] = []
        self.away = False

    def known(self, token: str) -> Caller | None:
        return Caller(token, token, expires=asyncio.get_running_loop().time() + 10) if token in self.checked else None

    async def identify(self, metadata: Sequence[tuple[str, str | bytes]], connection: str, certificate: bytes = b"") -> Caller:
        token = str(metadata[0][1]).removeprefix("Bearer ")
        self.asked.append(token)
        await asyncio.sleep(SECOND)
        if self.away:
            raise ServerUnavailable("no keys")
        if token.startswith("bad"):
            raise Unauthenticated("bad")
        self.checked.add(token)
        await asyncio.sleep(SECOND)  # Known, and those that waited have not gone on.
        found = self.known(token)
        assert found is not None
        return found


class SlowAccess(Access):
    """Nothing is known of anybody for so many seconds. `passes_on`: names may be used."""

    def __init__(self) -> None:
        self.seconds, self.passes_on = 0.0, True

    def known(self, caller: Caller, right: Right, pool: str) -> Answer | None:
        if right.verb == "impersonate":
            return Answer(allowed=self.passes_on)
        return None if self.seconds else super().known(caller, right, pool)

    async def answer(self, caller: Caller, right: Right, pool: str) -> Answer:
        await asyncio.sleep(self.seconds)
        return await super().answer(caller, right, pool)


class Link:
    """What becomes of calls: `taken` with whose they were, `refused` with why."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.turns = turns or Turns()
        self.gate, self.access = SlowGate(), SlowAccess()
        self.taken: list[tuple[int, str]] = []
        self.refused: list[tuple[int, str]] = []
        door, clock = Door(self.gate, self.access), asyncio.get_running_loop().time
        self.held = Held(lambda frame: self.refused.append((frame.result.id, frame.result.error.reason)))
        self.passed_on = PassedOn(door, self.held, self.turns, self._admit)
        self.rights = PoolRights(door, self.held, lambda who, frame, _: self._take(who, frame), clock)

    def call(self, id_: int, token: str = "", size: int = 0) -> None:
        frame = link_pb2.Frame(call=link_pb2.Call(id=id_, pool="shop/digits"))
        frame.call.arguments.data = b"x" * size
        if token:
            frame.call.caller.token = token
        if (who := self.passed_on.whose(GATEWAY, frame) if token else GATEWAY) is not None:
            self._admit(who, frame)

    def _admit(self, who: Caller, frame: link_pb2.Frame) -> None:
        if self.rights.allow(who, frame.call.pool, frame, asyncio.get_running_loop().time()) is not None:
            self._take(who, frame)

    def _take(self, who: Caller, frame: link_pb2.Frame) -> None:
        self.taken.append((frame.call.id, who.subject))


def played(play: Callable[[Link], Any]) -> None:
    async def run() -> None:
        await play(Link())

    loop = VirtualLoop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def test_calls_of_one_token_go_on_in_order_and_those_of_others_do_not_wait_for_them() -> None:
    async def play(link: Link) -> None:
        link.call(1, "ada")
        link.call(2, "ada")
        link.call(3)
        assert link.taken == [(3, "gateway")]
        await asyncio.sleep(1.5 * SECOND)
        assert link.gate.known("ada") is not None
        link.call(4, "ada")
        link.call(5, "bad")
        assert link.taken == [(3, "gateway")]
        await asyncio.sleep(3 * SECOND)
        assert link.taken[1:] == [(1, "ada"), (2, "ada"), (4, "ada")]
        assert link.refused == [(5, "UNAUTHENTICATED")]
        link.call(6, "ada")
        assert link.taken[-1] == (6, "ada"), "a token that is known costs no wait"
        assert link.gate.asked == ["ada", "bad"]

    played(play)


def test_a_token_waits_for_one_of_another_links_and_not_for_all_that_came_there() -> None:
    async def play(link: Link) -> None:
        other = Link(link.turns)
        for number in range(100):
            link.call(number, f"token{number}")
        await asyncio.sleep(0)
        other.call(1, "ada")
        while not other.gate.asked:
            await asyncio.sleep(0)
        assert len(link.gate.asked) < 4
        await asyncio.sleep(3 * SECOND)
        assert [id_ for id_, _ in link.taken] == list(range(100))

    played(play)


def named(subject: str, *groups: str) -> link_pb2.Frame:
    return link_pb2.Frame(call=link_pb2.Call(caller=link_pb2.Caller(subject=subject, groups=groups)))


def test_a_name_is_looked_at_once_until_the_links_bearer_is_another() -> None:
    async def play(link: Link) -> None:
        ada = link.passed_on.whose(GATEWAY, named("ada", "staff"))
        assert ada is not None
        assert (ada.subject, ada.groups, ada.bearer) == ("ada", ("staff", "system:authenticated"), GATEWAY)
        assert link.passed_on.whose(GATEWAY, named("ada", "staff")) is ada
        assert link.passed_on.whose(GATEWAY, named("ada")) != ada
        link.passed_on.forget()
        later = Caller("gateway", "gateway", expires=1.0)
        again = link.passed_on.whose(later, named("ada", "staff"))
        assert again is not None
        assert again.bearer is later

    played(play)


def test_of_names_so_many_are_kept_and_none_that_is_long() -> None:
    async def play(link: Link) -> None:
        long = named("a" * module.KEPT_NAME_BYTES)
        assert link.passed_on.whose(GATEWAY, long) is not link.passed_on.whose(GATEWAY, long)
        first = link.passed_on.whose(GATEWAY, named("ada"))
        for number in range(module.MOST_NAMED - 1):
            link.passed_on.whose(GATEWAY, named(f"caller-{number}"))
        assert link.passed_on.whose(GATEWAY, named("ada")) is first
        link.passed_on.whose(GATEWAY, named("one too many"))
        assert link.passed_on.whose(GATEWAY, named("ada")) is not first

    played(play)


def test_no_name_is_kept_that_may_not_be_used() -> None:
    async def play(link: Link) -> None:
        link.access.passes_on = False
        assert link.passed_on.whose(GATEWAY, named("ada")) is not link.passed_on.whose(GATEWAY, named("ada"))

    played(play)


def test_a_name_that_is_none_is_refused_each_time() -> None:
    async def play(link: Link) -> None:
        for _ in range(2):
            with pytest.raises(InvalidArguments, match="a name has 1 to 1024 characters"):
                link.passed_on.whose(GATEWAY, named(""))

    played(play)


def test_they_go_on_in_order_where_they_wait_for_the_right_too() -> None:
    async def play(link: Link) -> None:
        link.access.seconds = SECOND
        link.call(1, "ada")
        await asyncio.sleep(2.5 * SECOND)
        link.call(2, "ada")
        assert link.taken == []
        await asyncio.sleep(SECOND)
        assert link.taken == [(1, "ada"), (2, "ada")]

    played(play)


def test_a_call_whose_token_expires_while_it_waits_is_refused() -> None:
    async def play(link: Link) -> None:
        link.access.seconds = 11.0
        link.call(1, "ada")
        link.call(2)
        await asyncio.sleep(20)
        assert (link.taken, link.refused) == ([(2, "gateway")], [(1, "UNAUTHENTICATED")])

    played(play)


def test_where_the_keys_cannot_be_had_its_calls_are_told_and_the_next_one_asks_again() -> None:
    async def play(link: Link) -> None:
        link.gate.away = True
        link.call(1, "ada")
        link.call(2, "ada")
        await asyncio.sleep(2 * SECOND)
        assert link.refused == [(1, "SERVER_UNAVAILABLE"), (2, "SERVER_UNAVAILABLE")]
        link.gate.away = False
        link.call(3, "ada")
        await asyncio.sleep(3 * SECOND)
        assert link.taken == [(3, "ada")]

    played(play)


def test_so_many_wait_and_hold_so_much_whatever_they_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 10_000)

    async def play(link: Link) -> None:
        for id_ in range(7):
            link.call(id_, f"token-{id_}")
        assert [each for each, reason in link.refused if reason == "POOL_SATURATED"] == [5, 6]
        assert link.held.cancel(0)
        assert not link.held.cancel(0)
        link.call(7, "token-7", size=20_000)
        link.call(8, "token-8")
        assert [each for each, _ in link.refused] == [5, 6, 7]
        await asyncio.sleep(3 * SECOND)
        assert sorted(link.taken) == [(id_, f"token-{id_}") for id_ in (1, 2, 3, 4, 8)]
        assert (link.held.waiting, len(link.held.tasks)) == ({}, 0)

    played(play)


def test_what_waits_is_sent_away_where_the_replica_stops_and_forgotten_with_the_link() -> None:
    async def play(link: Link) -> None:
        link.call(1, "ada")
        link.held.finish()
        assert link.refused == [(1, "DRAINING")]
        link.call(2, "bob")
        link.held.closed()
        await asyncio.sleep(math.pi)
        assert link.taken == []

    played(play)
