"""Room for large requests: who came first is first, and nobody's place is lost."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from snakepit_gateway import bounds
from snakepit_gateway import room as module
from snakepit_gateway.problems import GatewayFull
from snakepit_gateway.room import Room
from snakepit_gateway.settings import Settings


async def test_who_comes_when_there_is_none_waits_and_the_first_is_first() -> None:
    room, order = Room(100), []

    async def one(name: str, size: int) -> None:
        await room.take(size)
        order.append(name)

    await room.take(80)
    waiting = [asyncio.create_task(one(name, size)) for name, size in (("large", 90), ("small", 10))]
    await asyncio.sleep(0)
    assert order == [], "the small one doesn't pass the large one"
    room.leave(80)
    await asyncio.gather(*waiting)
    assert order == ["large", "small"]


async def test_small_ones_have_as_much_again_and_wait_for_nothing() -> None:
    room = Room(100)
    await room.take(100)
    room.squeeze_in(60)
    room.squeeze_in(40)
    with pytest.raises(GatewayFull, match="holds other small requests, 100 bytes in all"):
        room.squeeze_in(1)
    room.let_out(60)
    room.squeeze_in(60)
    assert room.held == 100


async def test_one_alone_always_has_room() -> None:
    room = Room(100)
    await room.take(1000)
    room.leave(1000)
    await room.take(100)


async def test_who_leaves_while_it_waits_holds_nobody_up() -> None:
    room = Room(100)
    await room.take(60)
    first, second = asyncio.create_task(room.take(100)), asyncio.create_task(room.take(40))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)
    room.leave(60)
    room.leave(40)
    await room.take(100)


async def test_who_gets_room_and_leaves_in_the_same_moment_gives_it_back() -> None:
    room = Room(100)
    await room.take(100)
    waiting = asyncio.create_task(room.take(100))
    await asyncio.sleep(0)
    room.leave(100)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(room.take(100), 5)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    room = Room(100)
    await room.take(100)
    with pytest.raises(GatewayFull) as caught:
        await room.take(10)
    assert caught.value.details["limit"] == "SNAKEPIT_GATEWAY_MAX_HELD_BYTES"
    room.leave(100)
    await room.take(100)


async def test_whose_large_body_is_whole_may_wait_for_as_long_as_its_answer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 0.0)
    parts = iter([(b"a", True), (b"b", False)])
    gone, answered = asyncio.Event(), []

    async def receive() -> Message:
        if (part := next(parts, None)) is not None:
            return {"type": "http.request", "body": part[0], "more_body": part[1]}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def app(_scope: Scope, read: Receive, _send: Send) -> None:
        while (message := await read())["type"] == "http.request":
            if not message["more_body"]:
                asyncio.get_running_loop().call_later(0.05, gone.set)
        answered.append(message)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    await bounds.Bounds(app, Settings(), Room(1 << 20))(scope, receive, send)
    assert answered == [{"type": "http.disconnect"}]
