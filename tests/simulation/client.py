"""A client: the SDK's dialler, and calls that are put on its links as they are. It tries nothing again by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulation.account import Account, Attempt

from snakepit.link import Dialer, Link
from snakepit.link.dial import Replica
from snakepit.v1 import common_pb2, link_pb2

if TYPE_CHECKING:
    from simulation.network import Network


class Client:
    def __init__(self, name: str, account: Account, network: Network) -> None:
        self.name, self._account, self._network = name, account, network
        self._open: dict[Link, dict[int, Attempt]] = {}
        self._lives: dict[Link, int] = {}
        self._links = 0
        self._dialer = Dialer(f"{name}.replicas:7800", self._hello, self._on_frames, self._on_open, self._on_close)

    def start(self) -> None:
        self._dialer.start()

    async def stop(self) -> None:
        await self._dialer.stop()

    def _hello(self, _address: str) -> link_pb2.Hello:
        return link_pb2.Hello(role=link_pb2.ROLE_CLIENT, version="simulated")

    def _on_open(self, replica: Replica) -> None:
        self._open[replica.link] = {}
        self._links += 1
        self._lives[replica.link] = self._links

    def _on_close(self, replica: Replica, _reason: str) -> None:
        for attempt in self._open.pop(replica.link).values():
            self._account.cut_off(attempt)

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        for frame in frames:
            if frame.WhichOneof("kind") == "result":
                attempt = self._open.get(link, {}).pop(frame.result.id, None)
                self._account.answered(attempt, frame.result)

    @property
    def pending(self) -> list[Attempt]:
        return [attempt for attempts in self._open.values() for attempt in attempts.values()]

    def call(self, tool: str, *, timeout: float, session: str = "", affinity: int = 0, key: str = "", priority: int = 0) -> None:
        """Through any replica that is linked; nothing where none is."""
        links = [link for link in self._open if link.is_open]
        if not links:
            return
        link = self._network.chance.choice(links)
        attempt = self._account.attempt(tool, f"{self.name} on {link.name} {self._lives[link]}", timeout, session, key)
        arguments = common_pb2.Payload(content_type="application/json", data=b"1")
        call = link_pb2.Call(
            id=link.next_id(),
            call_id=attempt.call_id,
            pool="default/test",
            tool=tool,
            arguments=arguments,
            session_id=session,
            affinity=affinity,  # type: ignore[arg-type]
            priority=priority,  # type: ignore[arg-type]
            idempotency_key=key,
            timeout_seconds=timeout,
        )
        self._open[link][call.id] = attempt
        link.send(link_pb2.Frame(call=call))

    def cancel(self, attempt: Attempt) -> None:
        for link, attempts in self._open.items():
            for id_, each in attempts.items():
                if each is attempt and link.is_open:
                    attempt.cancelled = True
                    link.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=id_, reason="CANCELLED")))
