"""Whether this replica has the store, as its clients are told: those that have links to other replicas ask them meanwhile.

A replica that lost the store alone goes on by what it knew, and others may have declared its agents lost, and moved their sessions. So it
has the store back when that answers, and has said which agents those are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from snakepit._tasks import Tasks
from snakepit_control_plane.store.interface import Store


class Standing:
    """`catch_up` asks the store which agents are lost, and returns whether it has said so. `told` hears of each change."""

    def __init__(self, store: Store, catch_up: Callable[[], Awaitable[bool]]) -> None:
        self.lacks_store = False
        self.told: Callable[[], None] = lambda: None
        self._store = store
        self._catch_up = catch_up
        self._catching_up = False
        self._tasks = Tasks()

    def look(self) -> None:
        """Called now and then."""
        if self._store.problem:
            self._is(lacking=True)
        elif self.lacks_store and not self._catching_up:
            self._catching_up = True
            self._tasks.spawn(self._come_back())

    async def _come_back(self) -> None:
        try:
            if await self._catch_up() and not self._store.problem:
                self._is(lacking=False)
        finally:
            self._catching_up = False

    def _is(self, *, lacking: bool) -> None:
        if lacking != self.lacks_store:
            self.lacks_store = lacking
            self.told()

    async def stop(self) -> None:
        await self._tasks.stop()
