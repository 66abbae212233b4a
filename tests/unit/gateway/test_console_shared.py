"""Several who look at one thing ask once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from snakepit.errors import ServerUnavailable
from snakepit_gateway.console import shared as module
from snakepit_gateway.console.shared import MOST_KEPT, SETTLED_SECONDS, Shared


class Asked:
    def __init__(self) -> None:
        self.times = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        await self.go.wait()
        return self.times


async def test_those_who_look_at_one_time_share_an_answer_and_one_who_goes_takes_it_from_nobody() -> None:
    shared, asked = Shared(), Asked()
    impatient, patient = (asyncio.create_task(shared.get("workers", 60.0, asked)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    asked.go.set()
    assert await patient == 1
    assert await shared.get("workers", 60.0, asked) == 1
    assert await shared.get("tools", 60.0, asked) == 2


async def test_what_is_not_fresh_or_was_changed_is_asked_for_anew() -> None:
    shared, asked = Shared(), Asked()
    asked.go.set()
    assert await shared.get(("", "pool", "workers"), 0.0, asked) == 1
    assert await shared.get(("", "pool", "workers"), 60.0, asked) == 2
    shared.forget(("", "pool"))
    assert await shared.get(("", "pool", "workers"), 60.0, asked) == 3


async def test_a_failure_is_everybodys_for_as_long_as_an_answer_would_be() -> None:
    shared, times = Shared(), 0

    async def fails() -> int:
        nonlocal times
        times += 1
        raise ServerUnavailable("no link")

    for _ in range(3):
        with pytest.raises(ServerUnavailable):
            await shared.get("pools", 60.0, fails)
    assert times == 1


async def test_what_nobody_looks_at_any_more_is_not_kept() -> None:
    shared, asked = Shared(), Asked()
    asked.go.set()
    for at in range(5):
        await shared.get(at, 0.0, asked)
    await shared.get("last", 60.0, asked)
    assert list(shared._kept) == ["last"]  # noqa: SLF001


async def test_only_so_much_is_kept() -> None:
    shared, asked = Shared(), Asked()
    asked.go.set()
    for at in range(MOST_KEPT + 10):
        await shared.get(at, 60.0, asked)
    assert len(shared._kept) == MOST_KEPT  # noqa: SLF001


async def test_what_is_settled_is_asked_for_after_longer_and_a_failure_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    shared, asked = Shared(), Asked()
    asked.go.set()
    for at, times in ((0.0, 1), (0.5, 2), (1.0, 3), (1.0 + SETTLED_SECONDS - 0.1, 3), (1.0 + SETTLED_SECONDS, 4)):
        now = at
        assert await shared.get("call", 0.4, asked, lambda found: found == 3) == times

    async def fails() -> int:
        raise ServerUnavailable("no link")

    with pytest.raises(ServerUnavailable):
        await shared.get("other", 0.4, fails, lambda _: True)
    now += 0.5
    assert await shared.get("other", 0.4, asked) == 5
