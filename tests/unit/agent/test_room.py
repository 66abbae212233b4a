"""How many bytes of arguments are here at a time, and whose turn it is."""

from __future__ import annotations

import asyncio

from snakepit_agent.calls.budget import Room


async def test_who_asks_waits_for_room_and_in_turn() -> None:
    room = Room(100)
    first, second, third = room.ask(80), room.ask(50), room.ask(10)
    assert (first.done(), second.done(), third.done()) == (True, False, False)
    room.leave(80)
    assert (second.done(), third.done(), room.used) == (True, True, 60)


async def test_who_gives_up_at_the_head_of_the_line_holds_up_nobody() -> None:
    room = Room(100)
    room.ask(80)
    head, small, large = room.ask(50), room.ask(10), room.ask(50)
    head.cancel()
    await asyncio.sleep(0)
    assert (small.done(), large.done(), room.used) == (True, False, 90)
    room.leave(80)
    assert (large.done(), room.used) == (True, 60)


async def test_of_a_line_that_has_given_up_nobody_takes_room() -> None:
    room = Room(100)
    room.ask(100)
    for waiting in [room.ask(60) for _ in range(3)]:
        waiting.cancel()
    room.leave(100)
    await asyncio.sleep(0)
    assert (room.used, room.ask(100).done()) == (0, True)
