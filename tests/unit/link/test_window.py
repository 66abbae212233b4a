"""A producer waits when a window of bytes, or one chunk, is under way."""

from __future__ import annotations

import asyncio

import pytest

from snakepit._wire.window import Window


async def has_room(window: Window) -> bool:
    waiting = asyncio.ensure_future(window.room())
    await asyncio.sleep(0)
    waiting.cancel()
    return waiting.done() and not waiting.cancelled()


async def test_it_closes_when_it_is_full_and_opens_when_chunks_are_taken() -> None:
    window = Window(100)
    window.sent(60)
    assert await has_room(window)
    window.sent(60)
    assert not await has_room(window)
    assert window.bytes == 120
    window.taken(1)
    assert await has_room(window)
    window.taken(5)
    assert window.bytes == 0


async def test_one_chunk_may_be_larger_than_the_window() -> None:
    window = Window(100)
    assert await has_room(window)
    window.sent(1000)
    assert not await has_room(window)
    window.taken(1)
    assert await has_room(window)


@pytest.mark.parametrize("size", [1, 1000])
async def test_lifted_it_never_closes_again(size: int) -> None:
    window = Window(100)
    window.sent(200)
    window.lift()
    window.sent(size)
    assert await has_room(window)
