"""Redis' channels: whoever watches one is told of each message, by a connection of its own that is there while anybody watches.

A message may come late or never, so whoever needs certainty reads again. A watcher is also told when its channel begins to be listened to,
for what happened before may have gone unheard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from snakepit_control_plane.store.claims import Watchers
from snakepit_control_plane.store.connection import Away, Connection, Subscription

AGAIN_SECONDS = 0.5

log = logging.getLogger(__name__)


class Channels:
    """It does nothing while nobody watches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watchers = Watchers[str]()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def watch(self, channel: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` for each message on the channel; returns how to stop."""
        remove = self._watchers.add(channel, changed)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="store channels")

        def stop() -> None:
            remove()
            self._changed.set()

        return stop

    async def close(self) -> None:
        """Listen to nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._watchers.subjects:
            subscription = self._connection.subscription()
            try:
                await self._listen(subscription)
            except Away as error:
                log.debug("the store's channels can't be heard: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                await subscription.close()

    async def _listen(self, subscription: Subscription) -> None:
        """Listen until nobody watches. Raises Away."""
        heard: set[str] = set()
        reader: asyncio.Task[None] | None = None
        try:
            while wanted := set(self._watchers.subjects):
                self._changed.clear()
                await subscription.change(wanted - heard, heard - wanted)
                heard = wanted
                reader = reader or asyncio.create_task(self._read(subscription))
                await self._until_changed(reader)
        finally:
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _until_changed(self, reader: asyncio.Task[None]) -> None:
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((reader, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        if reader.done():
            reader.result()

    async def _read(self, subscription: Subscription) -> None:
        """Tell watchers of each message, until the connection breaks. Raises Away."""
        while True:
            self._watchers.tell(await subscription.next())
