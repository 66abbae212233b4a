"""A call's stream in the router: what nobody takes is not kept for ever, and nobody waits for what will not come."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest

from snakepit._wire.bulk import Bulk, Piece
from snakepit._wire.status import to_frame
from snakepit.errors import Cancelled, WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.streams import PROGRESS_KEPT, Stream
from snakepit_control_plane.flow.whole_payloads import take_whole
from support.virtual_time import run


async def _until_closed(stream: Stream) -> float:
    """Seconds."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    began, stream.on_close = loop.time(), closed.set
    async with asyncio.timeout(1000):
        await closed.wait()
    return loop.time() - began


def test_a_stream_whose_agent_is_gone_and_whose_caller_never_comes_is_closed_after_the_idle_time() -> None:
    async def forsaken() -> float:
        stream = Stream(idle_seconds=60.0)
        stream.await_pipe()
        return await _until_closed(stream)

    assert run(forsaken()) == 70.0, "10 s for the pipe to open, and the idle time"


def test_a_caller_who_takes_what_there_is_has_the_end_also_after_a_while() -> None:
    async def slow() -> str:
        stream = Stream(idle_seconds=60.0)
        stream.fail(to_frame(WorkerLost("it is gone")))
        await asyncio.sleep(50.0)
        chunk = await stream.take()
        return chunk.error.reason  # type: ignore[union-attr]

    assert run(slow()) == "WORKER_LOST"


async def test_whoever_waits_for_a_stream_that_is_given_up_is_told_and_so_is_who_comes_later() -> None:
    stream = Stream()
    waits = asyncio.create_task(stream.take())
    await asyncio.sleep(0)
    stream.abandon()
    async with asyncio.timeout(10):
        with pytest.raises(Cancelled):
            await waits
        with pytest.raises(Cancelled):
            await stream.take()


async def test_pieces_that_are_more_than_was_announced_are_an_error_and_no_payload() -> None:
    stream, ends = Stream(), socket.socketpair()
    lane = Bulk(ends[0])
    chunk = link_pb2.Chunk(pieces=link_pb2.Pieces(sections=[3]), last=True)
    agent = asyncio.create_task(stream.put([chunk, Piece(lane, 15)]))
    async with asyncio.timeout(10):
        with pytest.raises(WorkerLost, match="15 bytes came where 3 were left"):
            await take_whole(stream, 1000)
    stream.abandon()
    await agent
    lane.abort()
    ends[1].close()


async def test_progress_comes_before_the_chunk_that_waits_and_of_much_the_latest() -> None:
    stream = Stream()
    putting = asyncio.create_task(stream.put([link_pb2.Chunk(last=True)]))
    for id_ in range(2 * PROGRESS_KEPT):
        stream.reply(None, link_pb2.Frame(progress=link_pb2.Progress(id=id_)))  # type: ignore[arg-type]
    heard: list[int] = []

    async def hear(progress: link_pb2.Progress) -> None:
        heard.append(progress.id)

    async with asyncio.timeout(10):
        assert (await take_whole(stream, 1000, hear)).last
    assert heard == list(range(PROGRESS_KEPT, 2 * PROGRESS_KEPT))
    stream.abandon()
    await putting


async def test_whoever_waits_for_a_chunk_is_given_progress() -> None:
    stream = Stream()
    waits = asyncio.create_task(stream.take())
    await asyncio.sleep(0)
    stream.reply(None, link_pb2.Frame(progress=link_pb2.Progress(message="half")))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        taken = await waits
    assert isinstance(taken, link_pb2.Progress)
    assert taken.message == "half"
    stream.abandon()


def _heard(idle_seconds: float = 60.0) -> Stream:
    """Of a call that has asked for progress."""
    stream = Stream(idle_seconds=idle_seconds)
    stream.watch(None, SimpleNamespace(pool=None, message=link_pb2.Call(progress=True)))  # type: ignore[arg-type]
    return stream


@pytest.mark.parametrize("together", [True, False], ids=["chunks in one message", "each alone"])
async def test_the_last_word_of_progress_comes_before_the_end_however_late_it_is(together: bool) -> None:
    stream, chunks = _heard(), [link_pb2.Chunk(), link_pb2.Chunk(last=True)]

    async def put() -> None:
        for message in [chunks] if together else [[each] for each in chunks]:
            await stream.put([*message])

    async with asyncio.timeout(10):
        putting, first = asyncio.create_task(put()), await stream.take()
        assert isinstance(first, link_pb2.Chunk)
        assert stream.take_more(first) == chunks[:1]
        waits = asyncio.create_task(stream.take())
        while stream._index < 1 or not stream.last_came:  # noqa: SLF001
            await asyncio.sleep(0)
        stream.reply(None, link_pb2.Frame(progress=link_pb2.Progress(message="done")))  # type: ignore[arg-type]
        assert (await waits).message == "done"  # type: ignore[union-attr]
        stream.heard_all()
        assert await stream.take() == chunks[1]
    assert stream.finished
    await putting


@pytest.mark.parametrize(("idle_seconds", "waited"), [(60.0, 1.0), (0.5, 0.25)])
def test_an_end_is_not_kept_back_for_a_result_that_does_not_come(idle_seconds: float, waited: float) -> None:
    async def late() -> float:
        began, stream = asyncio.get_running_loop().time(), _heard(idle_seconds)
        putting = asyncio.create_task(stream.put([link_pb2.Chunk(last=True)]))
        await stream.take()
        assert stream.finished
        assert await putting
        return asyncio.get_running_loop().time() - began

    assert run(late()) == waited


@pytest.mark.parametrize(("reran", "started"), [(False, common_pb2.STARTED_NO), (True, common_pb2.STARTED_MAYBE)])
async def test_a_last_chunk_that_says_not_started_is_believed_of_the_first_attempt_alone(reran: bool, started: int) -> None:
    stream = Stream()
    stream.reran = reran
    last = link_pb2.Chunk(last=True, error=common_pb2.Error(reason="DEADLINE", started=common_pb2.STARTED_NO))
    putting = asyncio.create_task(stream.put([last]))
    item = await stream.take()
    stream.abandon()
    await putting
    assert isinstance(item, link_pb2.Chunk)
    assert item.error.started == started
