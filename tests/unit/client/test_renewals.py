"""When a link is given its next token: in time, again where nobody says that it was taken, and never faster than it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from snakepit._wire import LinkClosed
from snakepit._wire.dial import Replica
from snakepit._wire.token import Token
from snakepit.client.peer import Peer
from snakepit.client.renewals import Renewals
from snakepit.v1 import link_pb2
from support.virtual_time import run


class Recorder:
    """A link of which is kept what was sent, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str]] = []
        self.closed = False

    def send(self, frame: link_pb2.Frame) -> None:
        if self.closed:
            raise LinkClosed
        self.sent.append((asyncio.get_running_loop().time() - 1000, frame.credentials.token))


def played(script: Callable[[Recorder, Peer, Renewals], Coroutine[Any, Any, None]], file: Path, chance: float = 1.0) -> Recorder:
    link = Recorder()

    async def play() -> None:
        peer = Peer(Replica(link, None, "127.0.0.1:1", "r", 0, 0))  # type: ignore[arg-type]
        await script(link, peer, Renewals(Token(file), random=lambda: chance))

    run(play())
    return link


def test_the_next_token_goes_out_well_before_the_last_one_expires_and_is_read_then(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        renewals.taken(peer, 3600)
        await asyncio.sleep(3000)
        file.write_text("new")
        await asyncio.sleep(241)
        renewals.taken(peer, 7200)
        await asyncio.sleep(6000)

    assert played(script, file).sent == [(3240, "new")]


def test_what_is_not_taken_goes_out_again_after_pauses_that_grow_and_begin_anew_once_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("t")

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        renewals.taken(peer, 10)
        await asyncio.sleep(400)
        renewals.taken(peer, 10)
        await asyncio.sleep(20)

    times = [at for at, _ in played(script, file).sent]
    assert times == [9, 19, 34, 59, 104, 169, 234, 299, 364, 409, 419]
    assert caplog.text.count("127.0.0.1:1 has not taken this link's next token") == 2


def test_many_clients_whose_tokens_were_not_taken_do_not_come_back_together(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        renewals.taken(peer, 10)
        await asyncio.sleep(30)

    assert [at for at, _ in played(script, file, 0.0).sent] == [9, 14, 19, 24, 29]


def test_a_token_that_is_good_for_a_moment_only_is_not_sent_without_a_pause(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        for _ in range(3):
            renewals.taken(peer, 0)
            await asyncio.sleep(5.5)

    assert [at for at, _ in played(script, file).sent] == [5, 10.5, 16]


def test_a_link_that_has_closed_gets_nothing_more(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        renewals.taken(peer, 10)
        link.closed = True
        await asyncio.sleep(10)
        link.closed = False
        await asyncio.sleep(100)
        renewals.taken(peer, 10)
        renewals.forget(peer)
        await asyncio.sleep(100)

    assert played(script, file).sent == []


def test_a_file_that_never_could_be_read_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"

    async def script(link: Recorder, peer: Peer, renewals: Renewals) -> None:
        renewals.taken(peer, 10)
        await asyncio.sleep(15)
        file.write_text("t")
        await asyncio.sleep(5)

    assert played(script, file).sent == [(19, "t")]
    assert "can't be read" in caplog.text
