"""New tokens of a link: which are taken, and how often others are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from snakepit.errors import Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.servers.credentials import Credentials
from snakepit_control_plane.servers.door import Door
from support.virtual_time import run


class Names(Gate):
    """A token is NAME:SECONDS, for which it is good; looking at it takes a moment."""

    def __init__(self) -> None:
        self.looked: list[tuple[float, str]] = []

    async def identify(self, metadata: Sequence[tuple[str, str | bytes]], connection: str, certificate: bytes = b"") -> Caller:
        token, now = str(metadata[0][1]).removeprefix("Bearer "), asyncio.get_running_loop().time()
        self.looked.append((round(now - 1000), token))
        await asyncio.sleep(0.01)
        name, _, seconds = token.partition(":")
        if not seconds:
            raise Unauthenticated("garbage")
        return Caller(name, name, expires=now + float(seconds))


class Opened:
    """A link of ada's, whose token is good for a thousand seconds."""

    def __init__(self) -> None:
        self.gate, self.said, self.changes, self.expired = Names(), list[float](), 0, False
        loop = asyncio.get_running_loop()
        first = Caller("ada", "ada", expires=loop.time() + 1000)
        self.credentials = Credentials(Door(self.gate, Access()), first, self._send, self._changed, self._expire, loop.time)

    def _send(self, frame: link_pb2.Frame) -> None:
        self.said.append(round(frame.credentials.seconds))

    def _changed(self) -> None:
        self.changes += 1

    def _expire(self) -> None:
        self.expired = True

    async def flood(self, seconds: int) -> None:
        for number in range(seconds * 100):
            self.credentials.renew(f"garbage {number}")
            await asyncio.sleep(0.01)


def test_a_flood_of_tokens_that_are_not_right_is_looked_at_now_and_then_and_the_right_one_is_taken_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        opened = Opened()
        opened.credentials.start()
        await opened.flood(60)
        assert [at for at, _ in opened.gate.looked] == [0, 1, 3, 7, 15, 31]
        assert len(caplog.records) == 6
        opened.credentials.renew("ada:2000")
        await asyncio.sleep(60)
        assert opened.gate.looked[-1] == (63, "ada:2000"), "what came last waits for its turn"
        assert (opened.said, opened.changes) == ([1000, 2000], 1)
        opened.credentials.renew("garbage")
        opened.credentials.closed()

    run(play())


def test_tokens_that_are_right_are_taken_at_once_and_end_the_pauses() -> None:
    async def play() -> None:
        opened = Opened()
        opened.credentials.start()
        for number in range(5):
            opened.credentials.renew("garbage")
            await asyncio.sleep(0.5)
            opened.credentials.renew(f"ada:{2000 + number}")
            await asyncio.sleep(0.7)
        assert opened.said == [1000, *range(2000, 2005)]
        opened.credentials.closed()

    run(play())


def test_a_token_of_somebody_else_changes_nothing_and_the_link_expires_with_the_one_that_it_has(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        opened = Opened()
        opened.credentials.start()
        opened.credentials.renew("bob:5000")
        await asyncio.sleep(999)
        assert (opened.credentials.caller.subject, opened.expired) == ("ada", False)
        await asyncio.sleep(2)
        assert opened.expired
        opened.credentials.closed()

    run(play())
    assert "a new token of ada is not taken: it is one of bob" in caplog.text
