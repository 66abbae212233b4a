"""Whatever goes wrong between a call's arrival and its agent: its caller has one answer, and every slot, place and count is free again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support import virtual_time
from support.router_world import World


class Unforeseen(Exception):
    """No error that any of our code knows."""


Where = Callable[[World], tuple[Any, str]]

PLACES: dict[str, Where] = {
    "the place in the index": lambda world: (world.pool.index, "place"),
    "the watch over calls sent ahead": lambda world: (world.flow.recalls, "watch"),
    "the deadline": lambda world: (world.flow.calls.deadlines, "set"),
    "the count of waits": lambda world: (world.flow.telemetry.waits, "observe"),
    "the agent's link": lambda world: (world.flow.agents, "tell"),
    "the end of the wait": lambda world: (world.flow.calls, "leave_queue"),
    "the caller's share": lambda world: (world.pool.callers, "admit"),
    "the sending": lambda world: (world.flow.dispatcher, "dispatch"),
    "the store": lambda world: (world.store, "bind_session"),
}
WAYS = ["a free slot", "the queue", "a new session", "a bound session"]


async def fail_once(monkeypatch: pytest.MonkeyPatch, way: str, place: Where) -> bool:
    """Did the fault come to pass, in a call of this way?"""
    world = await World(capsules=1, workers=1, slots=1, sessions=1, call={"maxConcurrentPerCaller": 5}).start()
    fields = {"session_id": world.sessions[0]} if "session" in way else {}
    if way == "a bound session":
        world.submit(**fields)  # type: ignore[arg-type]
        await world.settle()
    if way == "the queue":
        world.submit()
        world.carry_all()
    owner, name = place(world)
    works, broken = getattr(owner, name), list[str]()

    def breaks(*arguments: Any, **named: Any) -> Any:
        # The index is used for more than sending.
        if not broken and (name != "place" or arguments[0].own > len(arguments[0].capsule.inflight)):
            broken.append(name)
            raise Unforeseen(name)
        return works(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, breaks)
        call = world.submit(**fields)  # type: ignore[arg-type]
        await world.settle()
    if broken:
        assert world.outcomes[call.call_id] in ("INTERNAL", "payload"), world.outcomes
    follower = world.submit(**fields)  # type: ignore[arg-type]
    await world.settle()
    assert world.outcomes[follower.call_id] == "payload"
    assert not world.agents[0].capsule.inflight
    await world.stop()
    return bool(broken) and world.outcomes[call.call_id] == "INTERNAL"


@pytest.mark.parametrize("place", PLACES)
def test_no_exception_between_a_reservation_and_the_agent_leaks_a_slot(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    failed = [way for way in WAYS if virtual_time.run(fail_once(monkeypatch, way, PLACES[place]))]
    if place != "the watch over calls sent ahead":  # A call that takes its time is never sent ahead.
        assert failed, f"no call of any way has met a failure of {place}"
