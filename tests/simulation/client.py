"""A client: the SDK's dialler and its exchanges on bulk lanes, and calls that are put on its links as they are. It tries nothing again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulation.account import Account, Attempt

from snakepit._ipc import frames
from snakepit._values import digests
from snakepit._wire import Dialer, Link
from snakepit._wire.dial import Replica
from snakepit.client import exchange as exchanges
from snakepit.client.codec import Large
from snakepit.client.connection import DEADLINE_GRACE_SECONDS
from snakepit.client.exchange import Exchange
from snakepit.client.peer import is_broken
from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2, link_pb2

if TYPE_CHECKING:
    from simulation.network import Network

READERS = ("quick", "quick", "slow", "leaves", "stalls")
"""Who reads a stream: one takes its time, one goes away in the middle, one takes nothing for a long time."""

STALL_SECONDS = 15.0


@dataclass(frozen=True)
class Wanted:
    """What a call asks for. `large`: bytes of its arguments, 0: small ones."""

    tool: str
    timeout: float
    session: str = ""
    affinity: int = 0
    key: str = ""
    priority: int = 0
    large: int = 0
    pool: str = "default/test"


class Client:
    def __init__(self, name: str, account: Account, network: Network) -> None:
        self.name, self._account, self._network = name, account, network
        self._open: dict[Link, dict[int, Attempt]] = {}
        self._replicas: dict[Link, Replica] = {}
        self._lives: dict[Link, int] = {}
        self._links = 0
        self._exchanging: dict[Attempt, asyncio.Task[None]] = {}
        self._dialer = Dialer(f"{name}.replicas:7800", self._hello, self._on_frames, self._on_open, self._on_close)

    def start(self) -> None:
        self._dialer.start()

    async def stop(self) -> None:
        await self._dialer.stop()
        await asyncio.gather(*self._exchanging.values(), return_exceptions=True)

    def _hello(self, _address: str) -> link_pb2.Hello:
        return link_pb2.Hello(role=link_pb2.ROLE_CLIENT, version="simulated")

    def _on_open(self, replica: Replica) -> None:
        self._open[replica.link] = {}
        self._replicas[replica.link] = replica
        self._links += 1
        self._lives[replica.link] = self._links

    def _on_close(self, replica: Replica, _reason: str) -> None:
        del self._replicas[replica.link]
        for attempt in self._open.pop(replica.link).values():
            self._account.cut_off(attempt)

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        for frame in frames:
            if frame.WhichOneof("kind") == "result":
                attempt = self._open.get(link, {}).pop(frame.result.id, None)
                if attempt is not None and frame.result.HasField("pieces"):
                    self._exchange(attempt, self._fetch(attempt, link, frame.result))
                else:
                    self._account.answered(attempt, frame.result)

    @property
    def pending(self) -> list[Attempt]:
        return [*(attempt for attempts in self._open.values() for attempt in attempts.values()), *self._exchanging]

    def call(self, wanted: Wanted) -> None:
        """Through any replica that is linked; nothing where none is."""
        links = [link for link in self._open if link.is_open]
        if not links:
            return
        link = self._network.chance.choice(links)
        if self._replicas[link].bulk is None:  # It came to be without a lane: the SDK takes ExecuteStream, or the frame.
            if wanted.tool == "stream":
                return
            wanted = replace(wanted, large=0)
        way = f"{self.name} on {link.name} {self._lives[link]}"
        attempt = self._account.attempt(wanted.tool, way, wanted.timeout, wanted.session, wanted.key, wanted.large)
        call = _frame(attempt, wanted)
        if not wanted.large and not call.stream:
            call.id = link.next_id()
            self._open[link][call.id] = attempt
            link.send(link_pb2.Frame(call=call))
            return
        # Calls that don't go over the link keep no order among themselves.
        attempt.way += f" beside {attempt.number}"
        parts = [attempt.arguments] if wanted.large else None
        exchange = Exchange(self._replicas[link], wanted.timeout + DEADLINE_GRACE_SECONDS, parts)
        self._exchange(attempt, self._stream(attempt, exchange, call) if call.stream else self._upload(attempt, exchange, call))

    def cancel(self, attempt: Attempt) -> None:
        if attempt in self._exchanging:
            attempt.cancelled = True
            self._exchanging[attempt].cancel()
        for link, attempts in self._open.items():
            for id_, each in attempts.items():
                if each is attempt and link.is_open:
                    attempt.cancelled = True
                    link.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=id_, reason="CANCELLED")))

    # ---- calls on bulk lanes

    def _exchange(self, attempt: Attempt, work: contextlib.AbstractAsyncContextManager[None] | object) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{attempt.call_id} of {self.name}")  # type: ignore[arg-type]
        self._exchanging[attempt] = task

        def done(_: object) -> None:
            del self._exchanging[attempt]
            if task.cancelled():
                self._account.cut_off(attempt)
            elif (error := task.exception()) is not None:
                self._account.problems.append(f"{attempt.call_id} of {self.name}: {error!r}")

        task.add_done_callback(done)

    async def _upload(self, attempt: Attempt, exchange: Exchange, call: link_pb2.Call) -> None:
        with self._ending(attempt, exchange):
            answer = await exchanges.call(exchange, call)
            if isinstance(answer, Large):
                self._account.delivered_result(attempt, answer.payload.data)
            else:
                self._account.answered(attempt, answer)

    async def _fetch(self, attempt: Attempt, link: Link, result: link_pb2.Result) -> None:
        """The tool has ended; what it has said takes a while to come."""
        exchange = Exchange(self._replicas[link], None)
        attempt.patient = True
        with self._ending(attempt, exchange):
            if self._network.chance.random() < 0.1:
                await asyncio.sleep(self._network.chance.random())
            try:
                answer = await exchanges.fetch(exchange, result)
            except asyncio.CancelledError:
                if link.is_open and self._network.chance.random() < 0.5:  # The SDK says so; another client may not.
                    link.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=result.id, reason="CANCELLED")))
                raise
            self._account.delivered_result(attempt, answer.payload.data)

    async def _stream(self, attempt: Attempt, exchange: Exchange, call: link_pb2.Call) -> None:
        reader, chance = self._network.chance.choice(READERS), self._network.chance
        attempt.patient = reader in ("slow", "stalls")
        most = chance.randint(0, 6) if reader in ("leaves", "stalls") else 1000
        with self._ending(attempt, exchange):
            await exchange.begin(link_pb2.FromClient(call=call))
            while not attempt.ended:
                if attempt.chunks >= most and reader == "leaves":
                    self._account.cut_off(attempt)
                    return
                if attempt.chunks >= most:
                    most = 1000
                    await asyncio.sleep(STALL_SECONDS)
                if reader == "slow":
                    await asyncio.sleep(chance.random() * 0.3)
                message = await exchange.read()
                if not isinstance(message, link_pb2.ToClient):
                    self._account.problems.append(f"the stream of {attempt.call_id} ended without its last chunk: {message!r}")
                    return
                for chunk in message.chunks:
                    await self._take(attempt, exchange, chunk)

    async def _take(self, attempt: Attempt, exchange: Exchange, chunk: link_pb2.Chunk) -> None:
        kind = chunk.WhichOneof("outcome")
        if kind == "payload":
            large = chunk.HasField("pieces")
            data = (await exchange.payload(chunk.payload, chunk.pieces)).data if large else chunk.payload.data
            self._account.chunk(attempt, data)
        elif kind == "error":
            error = chunk.error
            self._account.settled(attempt, kind, error.reason, error.started, error.message, error.details["how"])
        elif kind == "tool_error":
            self._account.settled(attempt, kind, kind, common_pb2.STARTED_YES)
        if chunk.last and not attempt.ended:
            self._account.settled(attempt, "end", "end", common_pb2.STARTED_YES)

    @contextlib.contextmanager
    def _ending(self, attempt: Attempt, exchange: Exchange):  # type: ignore[no-untyped-def]
        try:
            yield
        except SnakepitError as error:
            if is_broken(error):
                self._account.cut_off(attempt)
            else:
                self._account.settled(attempt, "error", error.reason, int(error.started), error.message, str(error.details.get("how", "")))
        finally:
            exchange.cancel()


def _frame(attempt: Attempt, wanted: Wanted) -> link_pb2.Call:
    call = link_pb2.Call(
        call_id=attempt.call_id,
        pool=wanted.pool,
        tool=wanted.tool,
        arguments=common_pb2.Payload(content_type="application/json"),
        stream=wanted.tool == "stream",
        session_id=wanted.session,
        affinity=wanted.affinity,  # type: ignore[arg-type]
        priority=wanted.priority,  # type: ignore[arg-type]
        idempotency_key=wanted.key,
        timeout_seconds=wanted.timeout,
    )
    if wanted.large:
        call.pieces.sections.append(wanted.large)
        if wanted.key:
            call.arguments_digest = digests.of_payload(frames.Payload(attempt.arguments))
    else:
        call.arguments.data = attempt.arguments
    return call
