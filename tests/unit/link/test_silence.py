"""What the silence of a link's other end means, and how it is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snakepit._wire import Link
from snakepit._wire.silence import GONE_SECONDS, LOOK_SECONDS, SUSPECT_SECONDS, Sign, Silence
from snakepit._wire.stream_lane import StreamLane
from snakepit.v1 import link_pb2

HEARD, EXPECTED, IDLE = {"heard": True, "expecting": True}, {"heard": False, "expecting": True}, {"heard": False, "expecting": False}


def looks(silence: Silence, begin: float, seconds: float, **how: bool) -> list[Sign]:
    """One look after another, as often as a dialler takes them."""
    return [silence.look(begin + LOOK_SECONDS * number, **how) for number in range(int(seconds / LOOK_SECONDS))]


def test_a_peer_that_speaks_or_of_which_nothing_is_expected_is_not_asked() -> None:
    silence = Silence()
    assert looks(silence, 0.0, 10, **HEARD) == [Sign.FINE] * 20
    assert looks(silence, 10.0, 10, **IDLE) == [Sign.FINE] * 20


def test_one_that_falls_silent_is_asked_then_suspect_within_2_s_and_given_up_within_5_s_of_its_last_word() -> None:
    silence = Silence()
    silence.look(0.0, **HEARD)
    last_word = -LOOK_SECONDS  # Just after the look before, at the worst.
    signs = looks(silence, LOOK_SECONDS, 10, **EXPECTED)
    assert signs[0] is Sign.ASK
    at = {sign: LOOK_SECONDS * (1 + signs.index(sign)) - last_word for sign in (Sign.SUSPECT, Sign.GONE)}
    assert at[Sign.SUSPECT] <= 2.0
    assert at[Sign.GONE] <= 5.0
    assert signs.count(Sign.ASK) == 1


def test_any_word_ends_the_suspicion() -> None:
    silence = Silence()
    looks(silence, 0.0, SUSPECT_SECONDS + 2 * LOOK_SECONDS, **EXPECTED)
    assert silence.is_suspect
    assert silence.look(2.0, **HEARD) is Sign.FINE
    assert not silence.is_suspect


def test_one_that_was_asked_is_waited_for_although_nobody_expects_anything_any_more() -> None:
    silence = Silence()
    assert silence.look(0.0, **EXPECTED) is Sign.ASK
    assert looks(silence, LOOK_SECONDS, GONE_SECONDS, **IDLE)[-1] is Sign.GONE


def test_after_a_stall_of_our_own_the_peer_is_asked_anew_before_it_is_judged() -> None:
    silence = Silence()
    assert silence.look(0.0, **EXPECTED) is Sign.ASK
    assert silence.look(60.0, **EXPECTED) is Sign.ASK
    assert silence.look(60.5, **EXPECTED) is Sign.WAIT
    assert not silence.is_suspect


@pytest.mark.parametrize("before", [0.5, 2.0, 3.5])
def test_stalls_of_our_own_take_no_more_time_than_they_last_and_a_second_each(before: float) -> None:
    """A dead replica was told of seconds later, on a machine that had much else to do."""
    silence, stalls = Silence(), (1.5, 1.2, 2.0)
    looks(silence, 0.0, before + LOOK_SECONDS, **EXPECTED)
    at = before
    for stall in stalls:
        at += stall
        assert silence.look(at, **EXPECTED) is Sign.ASK
        at += LOOK_SECONDS
        assert silence.look(at, **EXPECTED) is not Sign.GONE, "its answer may lie here unread"
    signs = looks(silence, at + LOOK_SECONDS, GONE_SECONDS, **EXPECTED)
    gone = at + LOOK_SECONDS * (1 + signs.index(Sign.GONE))
    assert gone <= GONE_SECONDS + sum(stalls) + len(stalls) * SUSPECT_SECONDS


class Pair:
    """Two ends of one link over queues."""

    def __init__(self) -> None:
        there, back = asyncio.Queue[Any](), asyncio.Queue[Any]()
        self.got: list[link_pb2.Frame] = []
        self.asks, self.answers = Link(self._take, name="asks"), Link(self._take, name="answers")
        self.asks.use(StreamLane(back.get, there.put, link_pb2.LinkRequest))
        self.answers.use(StreamLane(there.get, back.put, link_pb2.LinkResponse))

    def _take(self, link: Link, frames: Any) -> None:
        for frame in frames:
            self.got.append(frame)
            link.pass_over(frame)


async def test_a_ping_is_answered_by_the_link_itself_and_the_answer_is_a_word(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    tasks = [asyncio.create_task(link.run()) for link in (pair.asks, pair.answers)]
    assert not pair.asks.heard
    pair.asks.send(link_pb2.Frame(ping=link_pb2.Ping()))
    while not pair.asks.heard:
        await asyncio.sleep(0)
    assert [frame.WhichOneof("kind") for frame in pair.got] == ["ping", "pong"]
    assert caplog.text == ""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_link_that_is_given_up_ends_although_its_other_end_never_hangs_up() -> None:
    never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read() -> Any:
        return await never

    async def write(_: Any) -> None:
        await never

    link = Link(lambda *_: None)
    link.use(StreamLane(read, write, link_pb2.LinkRequest, done_writing=read))
    link.send(link_pb2.Frame(ping=link_pb2.Ping()))
    run = asyncio.create_task(link.run())
    await asyncio.sleep(0)
    link.give_up("it does not answer")
    assert await run == "it does not answer"
