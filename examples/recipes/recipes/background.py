"""A task of setup(), which runs between calls too, and ends with its worker."""

import asyncio
import contextlib

from snakepit import Adapter, tool


class Fresh(Adapter):
    async def setup(self) -> None:
        self.rate = await self.fetch()
        self.refreshing = asyncio.create_task(self.refresh())

    async def teardown(self) -> None:
        self.refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.refreshing

    async def refresh(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.rate = await self.fetch()

    async def fetch(self) -> int:
        return getattr(self, "rate", 0) + 1

    @tool
    async def current(self) -> int:
        return self.rate
