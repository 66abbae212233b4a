"""Keeps the screen of `snakepit top` up to date: looks again and again, and does what keys say."""

from __future__ import annotations

import asyncio

import msgspec

from snakepit.cli.reach import Reach
from snakepit.cli.top.asking import look
from snakepit.cli.top.look import Look
from snakepit.cli.top.screen import draw, page
from snakepit.cli.top.state import State, keys, pressed, rows
from snakepit.cli.top.terminal import Terminal, taken
from snakepit.client import Client
from snakepit.client.connection import RPC_SECONDS
from snakepit.errors import DeadlineExceeded, SnakepitError

LATE_SECONDS = 2.0
"""A look that takes longer is said to: what is on the screen is old."""


class Live:
    """`where`: whose pools these are, for its title. `interval`: seconds between two looks; a slow one takes its time besides."""

    def __init__(self, client: Client, only: str | None, where: str, interval: float, first: Look, state: State, reach: Reach) -> None:
        self._client, self._only, self._where, self._interval = client, only, where, interval
        self._look, self._state, self._reach = first, state, reach
        self._asked = ""
        self._changed, self._hurry = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until somebody quits."""
        with taken(self._typed, self._changed.set) as terminal:
            looking = asyncio.create_task(self._look_again(), name="look")
            try:
                while not self._state.over:
                    self._changed.clear()
                    self._draw(terminal)
                    waiting = asyncio.create_task(self._changed.wait(), name="changed")
                    await asyncio.wait((waiting, looking), return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                    if looking.done():
                        looking.result()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    def _draw(self, terminal: Terminal) -> None:
        width, self._height = terminal.size
        terminal.draw(draw(self._look, self._state, self._where, width, self._height, self._reach.remark))

    def _typed(self, text: str) -> None:
        for key in keys(text):
            self._state = pressed(self._state, key, [each.name for each in rows(self._look.pools, self._state)], page(self._height))
        if self._selected() != self._asked:
            self._hurry.set()
        self._changed.set()

    def _selected(self) -> str:
        """The pool whose workers are shown."""
        names = [each.name for each in rows(self._look.pools, self._state)]
        return self._state.selected if self._state.selected in names else next(iter(names), "")

    async def _look_again(self) -> None:
        while True:
            if not self._state.paused or self._selected() != self._asked:
                self._asked = self._selected()
                await self._look_once()
                self._changed.set()
            if self._selected() == self._asked:
                self._hurry.clear()
            try:
                async with asyncio.timeout(self._interval):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _look_once(self) -> None:
        late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._stays, "nobody has answered yet")
        try:
            self._look = await look(self._client, self._only, self._state.filter, [self._asked])
        except DeadlineExceeded:
            self._stays(f"no answer came within {RPC_SECONDS:g} s")
        except SnakepitError as error:
            self._stays(f"{error.reason}: {error.message}")
        finally:
            late.cancel()

    def _stays(self, why: str) -> None:
        """What was seen last is still shown, with why there is nothing newer."""
        self._look = msgspec.structs.replace(self._look, problem=f"since {self._look.time:%H:%M:%S}: {why}")
        self._changed.set()
