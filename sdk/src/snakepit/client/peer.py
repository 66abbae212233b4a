"""One open link to a replica: what waits for its answers, what it can take, and what its silence or its end means."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from google.protobuf.message import Message

from snakepit._ipc import frames
from snakepit._ipc.sections import counted, sizes
from snakepit._values import payloads
from snakepit._wire import Link, LinkClosed
from snakepit._wire.dial import Replica
from snakepit.client import codec, exchange, local_errors
from snakepit.client.exchange import Watch
from snakepit.errors import Cancelled, DeadlineExceeded, ServerUnavailable, SnakepitError, Started
from snakepit.v1 import link_pb2


class NotWritten(Exception):
    """The call never left this process."""


class Peer:
    """One open link, what waits for its answers, and the services beside it."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.link: Link = replica.link
        self.waiting: dict[int, asyncio.Future[link_pb2.Result]] = {}
        self.watching: dict[int, Watch] = {}
        self.overdue_at: dict[int, float] = {}
        self.taken: int | None = None
        """The last call that the replica has taken, once it has said that it takes no more."""

    def rpc(self, request: Message, answer: type[Message]) -> Any:
        """The RPC that is named as its request, of the only service in the request's file."""
        kind = request.DESCRIPTOR
        (service,) = kind.file.services_by_name.values()
        path = f"/{service.full_name}/{kind.name.removesuffix('Request')}"
        return self.replica.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)

    def answer(self, result: link_pb2.Result) -> None:
        future = self.waiting.get(result.id)
        if future is not None and not future.done():
            future.set_result(result)

    def progress(self, progress: link_pb2.Progress) -> None:
        if (watch := self.watching.get(progress.id)) is not None:
            exchange.tell(watch, progress)

    def expire(self, now: float) -> bool:
        """Give up the calls whose replica has kept silent past their deadline; whether others have one to meet."""
        for id_ in [id_ for id_, at in self.overdue_at.items() if at <= now]:
            del self.overdue_at[id_]
            if not self.waiting[id_].done():
                self.waiting[id_].set_exception(
                    DeadlineExceeded("the deadline passed and the control plane has not said why", started=Started.MAYBE)
                )
        return bool(self.overdue_at)

    def give_up(self, reason: str) -> None:
        """The link has closed: tell everybody who waits, and tell those apart whose call was never written, or never taken."""
        unwritten = {frame.call.id for frame in self.link.unwritten if frame.WhichOneof("kind") == "call"}
        for id_, future in self.waiting.items():
            if future.done():
                continue
            if id_ in unwritten:
                future.set_exception(NotWritten())
            elif self.taken is not None and id_ > self.taken:
                future.set_exception(local_errors.never_taken(self.replica.address))
            else:
                future.set_exception(local_errors.replica_lost(self.replica.address, reason))

    def cancel(self, id_: int) -> None:
        with contextlib.suppress(LinkClosed):
            self.link.send(link_pb2.Frame(cancel=link_pb2.Cancel(id=id_, reason=Cancelled.reason)))


def check_size(replica: Replica, payload: frames.Payload) -> None:
    """Raises PayloadTooLarge for arguments that the replica would refuse, or that can't get to it."""
    if replica.bulk is None:
        size, limit, name = payloads.size(payload), replica.max_payload_bytes, "maxPayloadBytes"
    else:
        size, limit, name = counted(sizes(payload)), replica.max_large_payload_bytes, "maxLargePayloadBytes"
    if size > limit:
        raise local_errors.too_large(size, limit, name)


def inlined(call: link_pb2.Call, large: frames.Payload) -> link_pb2.Call:
    """A copy of the call that has its arguments in it, for a link without a lane."""
    whole = link_pb2.Call()
    whole.CopyFrom(call)
    whole.ClearField("pieces")
    whole.arguments.CopyFrom(codec.plain_wire(large))
    return whole


def is_broken(error: SnakepitError) -> bool:
    """True for what gRPC itself says when the connection has gone, as opposed to a refusal by the control plane."""
    return isinstance(error, ServerUnavailable) and error.of_connection
