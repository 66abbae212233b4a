"""A client's link without the SDK: it sends what it is told to, right or wrong."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from snakepit._wire import Dialer, Link
from snakepit._wire.bulk_calls import BulkLanes
from snakepit._wire.dial import Replica
from snakepit.v1 import link_pb2
from support.control_plane import eventually
from support.simulated_agent import POOL
from support.simulated_tools import payload


class Client:
    """An SDK's link, without the SDK."""

    def __init__(self, address: str, token: str = "") -> None:
        self.results: dict[int, link_pb2.Result] = {}
        self.replica: Replica | None = None
        self.gone_away = False
        self.closed: list[str] = []
        self.heard: list[link_pb2.Frame] = []
        self.dialer = Dialer(
            address,
            self._hello,
            self._on_frames,
            self._opened,
            lambda replica, reason: self.closed.append(reason),
            metadata=lambda: (("authorization", f"Bearer {token}"),) if token else (),
        )
        self.dialer.start()

    def _hello(self, address: str) -> link_pb2.Hello:
        return link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT)

    def _opened(self, replica: Replica) -> None:
        self.replica = replica

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        self.heard.extend(frames)
        for frame in frames:
            if frame.WhichOneof("kind") == "result":
                self.results[frame.result.id] = frame.result
            self.gone_away = self.gone_away or frame.WhichOneof("kind") == "go_away"

    def call(self, tool: str, *, number: int = 0, **fields: object) -> int:
        assert self.replica is not None
        number = number or self.replica.link.next_id()
        call = link_pb2.Call(id=number, call_id=f"c{number}", pool=POOL, tool=tool, arguments=payload({}), **fields)  # type: ignore[arg-type]
        self.replica.link.send(link_pb2.Frame(call=call))
        return number

    @property
    def bulk(self) -> BulkLanes:
        """The bulk lanes of its link."""
        assert self.replica is not None
        assert self.replica.bulk is not None
        return self.replica.bulk

    async def stop(self) -> None:
        await self.dialer.stop()


@contextlib.asynccontextmanager
async def bare_client(address: str, token: str = "") -> AsyncIterator[Client]:
    """With a link."""
    made = Client(address, token)
    try:
        await eventually(lambda: made.replica, "it is linked")
        yield made
    finally:
        await made.stop()
