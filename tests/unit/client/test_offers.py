"""What becomes of an offer at replicas that can't answer it now."""

from __future__ import annotations

import asyncio

import pytest

from snakepit._wire.dial import Replica
from snakepit._wire.status import to_frame
from snakepit.client.offers import AGAIN_SECONDS, REPLY_SECONDS, Offer, Offers
from snakepit.client.peer import Peer
from snakepit.errors import PermissionDenied, ServerUnavailable, SnakepitError
from snakepit.v1 import link_pb2
from support.virtual_time import run

AWAY = ServerUnavailable("rights can't be asked for")
NEVER = PermissionDenied("you may not")
SILENT = None
TAKEN = ()

Answer = SnakepitError | tuple[()] | None


class Answers:
    """A replica's link that answers each offer with the next of these; the last one stays. `asked`: when that was."""

    is_open = True

    def __init__(self, offers: Offers, *answers: Answer) -> None:
        self.peer = Peer(Replica(self, None, "replica", "r", 0, 0))  # type: ignore[arg-type]
        self.asked: list[float] = []
        self.withdrawn = False
        self._offers, self._answers = offers, list(answers)

    def send(self, frame: link_pb2.Frame) -> None:
        if not frame.offer.tools:
            self.withdrawn = True
            return
        self.asked.append(asyncio.get_running_loop().time() - 1000)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is SILENT:
            return
        error = to_frame(answer) if isinstance(answer, SnakepitError) else None
        reply = link_pb2.OfferReply(id=frame.offer.id, error=error)
        asyncio.get_running_loop().call_soon(self._offers.replied, self.peer, reply)


class Everywhere:
    """Peers, all of them linked."""

    def __init__(self) -> None:
        self.all: list[Peer] = []

    async def peer(self) -> Peer:
        return self.all[0]

    async def every_link(self, seconds: float) -> None:
        assert seconds > 0


class World:
    def __init__(self, *replicas: tuple[Answer, ...]) -> None:
        peers = Everywhere()
        self.offers = Offers(peers)  # type: ignore[arg-type]
        self.replicas = [Answers(self.offers, *answers) for answers in replicas]
        peers.all = [each.peer for each in self.replicas]

    def offer(self) -> Offer:
        def tell(what: str) -> str:
            return what

        return Offer(self.offers, tell, "default/p", "")


@pytest.mark.parametrize(("first", "later"), [(AWAY, 0.0), (SILENT, REPLY_SECONDS)], ids=["can't know", "says nothing"])
def test_where_it_can_not_be_taken_now_it_is_offered_again_until_it_is(first: Answer, later: float) -> None:
    async def play() -> None:
        world = World((TAKEN,), (first, first, first, TAKEN))
        async with world.offer():
            await asyncio.sleep(60)
        good, late = world.replicas
        assert good.asked == [0]
        steps = [0, later, 2 * later + AGAIN_SECONDS, 3 * later + 2 * AGAIN_SECONDS]
        assert late.asked == pytest.approx(steps)
        assert late.withdrawn

    run(play())


def test_an_offer_that_is_over_is_not_made_again() -> None:
    async def play() -> None:
        world = World((TAKEN,), (AWAY,))
        async with world.offer():
            await asyncio.sleep(2.5 * AGAIN_SECONDS)
        asked = len(world.replicas[1].asked)
        await asyncio.sleep(10)
        assert len(world.replicas[1].asked) == asked

    run(play())


@pytest.mark.parametrize("answers", [[TAKEN, NEVER], [AWAY, NEVER], [AWAY, AWAY]])
def test_where_one_says_no_or_nobody_can_answer_it_is_refused_and_withdrawn(answers: list[Answer]) -> None:
    async def play() -> None:
        world = World(*((each,) for each in answers))
        with pytest.raises(type(answers[1])):
            async with world.offer():
                raise AssertionError
        assert all(each.withdrawn for each in world.replicas)
        await asyncio.sleep(10)
        assert all(each.asked == [0] for each in world.replicas)

    run(play())
