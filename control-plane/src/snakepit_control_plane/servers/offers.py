"""A client's tools on its link: offered and withdrawn, called, and gone with the link. What a name means is decided in `nested`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from snakepit import _wire as links
from snakepit._tasks import Tasks
from snakepit._values.strings import quoted
from snakepit._wire import LinkClosed
from snakepit._wire.status import to_frame
from snakepit._wire.window import WINDOW_BYTES, Window
from snakepit.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PoolSaturated,
    ServerUnavailable,
    SnakepitError,
    Started,
    WorkerLost,
)
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow import spans
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.nested import Answer, Chunk, Target
from snakepit_control_plane.model.call import outcome_of
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.catalogue import Scope
from snakepit_control_plane.policy.admission import payload_bytes
from snakepit_control_plane.policy.rights import LOOK_AGAIN_SECONDS, OFFER, denied
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.rpc import full_name

PROVIDER_CHARACTERS = 64


class ClientCall:
    """A call that a client runs, until its one answer. It takes no slot; the calls around it wait."""

    def __init__(self, provider: Provider, call: link_pb2.Call, target: Target, answer: Answer, chunk: Chunk) -> None:
        self.id = call.id
        self.call_id = call.call_id
        self.pool = call.pool
        self.tool = call.tool
        self.subject = provider.client[0]
        self.nest = target.nest
        self.until = target.until
        self.offer = target.offered.number if target.offered is not None else 0
        self.window = Window()
        self._provider = provider
        self._answer, self._chunk = answer, chunk
        self._closed = False
        self._timer = asyncio.get_running_loop().call_at(target.until, self._expire)
        self._span = spans.asked(call) if call.traceparent else None

    def cancel(self, error: SnakepitError | None = None) -> None:
        """Nobody waits for it any more, or (`error`) nobody is to run it any more."""
        if not self._closed:
            self._provider.tell(link_pb2.Frame(cancel=link_pb2.Cancel(id=self.id, reason="CANCELLED")))
            self.fail(error or Cancelled("the call that asked has ended", started=Started.MAYBE))

    def taken(self, chunks: int) -> None:
        """The asker took chunks of the stream."""
        self.window.taken(chunks)
        self._provider.tell(link_pb2.Frame(flow=link_pb2.Flow(id=self.id, taken=chunks)))

    def chunk(self, payload: common_pb2.Payload) -> None:
        self.window.sent(payload_bytes(payload))
        self._chunk(payload)

    def fail(self, error: SnakepitError) -> None:
        self.close(link_pb2.Result(error=to_frame(error)))

    def close(self, result: link_pb2.Result) -> None:
        """Answer: once."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._provider.forget(self, outcome_of(result))
        if self._span is not None:
            spans.end_asked(self._span, result)
        self._answer(result)
        self.nest.end()

    def _expire(self) -> None:
        self._provider.tell(link_pb2.Frame(cancel=link_pb2.Cancel(id=self.id, reason="DEADLINE")))
        message = f"the deadline passed before the client that offers tool {self.tool!r} answered"
        self.fail(DeadlineExceeded(message, started=Started.MAYBE))


class Provider:
    """One client's link as the place where tools are run. `client`: its subject and its id, the same on all of its links."""

    def __init__(self, flow: Flow, link: links.Link, who: Callable[[], Caller], door: Door) -> None:
        self.client = ("", "")
        self._who, self._door = who, door
        self._tasks, self._turn, self._looks = Tasks(), asyncio.Lock(), False
        self._flow = flow
        self._nested = flow.nested
        self._link = link
        self.calls: dict[int, ClientCall] = {}

    def tell(self, frame: link_pb2.Frame) -> None:
        """A link that has just broken ends every call by itself."""
        with contextlib.suppress(LinkClosed):
            self._link.send(frame)

    # ---- the agent's side

    def run(self, call: link_pb2.Call, target: Target, answer: Answer, chunk: Chunk) -> ClientCall:
        """Have the client run a call. Raises PoolSaturated, PayloadTooLarge."""
        flow = self._flow
        if len(self.calls) >= (most := flow.limits.max_calls_per_offering_client):
            message = f"the client that offers tool {call.tool!r} runs {most} calls already, maxCallsPerOfferingClient allows no more"
            raise PoolSaturated(message, retry_after=0.1, details={"limit": "maxCallsPerOfferingClient", "calls": str(most)})
        self._check_size(call.arguments, "arguments", Started.NO)
        sent = link_pb2.Frame(call=call)
        frame = sent.call
        frame.id = self._link.next_id()
        frame.timeout_seconds = max(0.001, target.until - flow.clock())
        running = self.calls[frame.id] = self._nested.client_calls[frame.call_id] = ClientCall(self, frame, target, answer, chunk)
        target.nest.keep(running.cancel)
        self.tell(sent)
        return running

    def forget(self, call: ClientCall, outcome: str) -> None:
        """It has ended. Of the outcome, which the client says, the metric's row knows what is a word of ours."""
        self._flow.telemetry.asked.add(call.pool, outcome)
        self.calls.pop(call.id, None)
        self._nested.client_calls.pop(call.call_id, None)

    # ---- the client's side

    def take(self, kind: str | None, frame: link_pb2.Frame) -> bool:
        """A frame of the client's; False: it is none about its tools."""
        if kind == "offer":
            self._tasks.spawn(self._offered(frame.offer), name="offer of tools")
        elif kind == "result":
            self._answered(frame.result)
        elif kind == "flow":
            self._flowed(frame.flow)
        else:
            return False
        return True

    async def _offered(self, offer: link_pb2.Offer) -> None:
        reply = link_pb2.OfferReply(id=offer.id)
        try:
            async with self._turn:
                if offer.tools:
                    await self._admit(offer)
                self._accept(offer)
        except SnakepitError as error:
            reply.error.CopyFrom(to_frame(error))
        self.tell(link_pb2.Frame(offer_reply=reply))

    async def _admit(self, offer: link_pb2.Offer) -> None:
        """Raises SnakepitError for what may not be offered."""
        await self._door.access.check(self._who(), OFFER, self._flow.pools.find(full_name(offer.pool)).name)
        if self._who().subject and not self._looks:
            self._looks = True
            self._tasks.spawn(self._look_again(), name="may a client still offer its tools?")

    async def _look_again(self) -> None:
        """Tools of a client that may not offer them any more are withdrawn."""
        offers = self._nested.catalogue.offers
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            for number, offer in list(offers.get(self, {}).items()):
                who, pool = self._who(), offer[0].scope.pool
                with contextlib.suppress(ServerUnavailable):  # It is asked again in a moment.
                    if not (answer := await self._door.access.answer(who, OFFER, pool)).allowed:
                        self._door.access.decided(who, OFFER, pool, answer)
                        self._withdraw(number, "may not offer it any more")
                        error = to_frame(denied(who.subject, OFFER, pool, answer.reason))
                        self.tell(link_pb2.Frame(offer_reply=link_pb2.OfferReply(id=number, error=error)))

    def _withdraw(self, number: int, how: str) -> None:
        self._nested.catalogue.withdraw(self, number)
        for call in [call for call in self.calls.values() if call.offer == number]:
            call.cancel(_gone(call, how))

    def _accept(self, offer: link_pb2.Offer) -> None:
        subject = self._who().subject
        if not 0 < len(offer.provider) <= PROVIDER_CHARACTERS or self.client[1] not in ("", offer.provider):
            rule = f"must be one name for the client, of up to {PROVIDER_CHARACTERS} characters, the same in all of its offers"
            raise InvalidArguments(f"offer.provider {quoted(offer.provider)} {rule}")
        self.client = subject, offer.provider
        if not offer.tools:
            self._withdraw(offer.id, "withdrew it")
            return
        pool = self._flow.pools.find(full_name(offer.pool))
        scope = Scope(pool.name, offer.session_id, subject if offer.session_id else "")
        self._nested.catalogue.offer(self, offer.id, scope, offer.tools, pool.tools)

    def _answered(self, result: link_pb2.Result) -> None:
        call = self.calls.get(result.id)
        if call is None:
            return
        try:
            self._check_size(result.payload, "result", Started.YES)
        except PayloadTooLarge as error:
            call.fail(error)
            return
        call.close(result)

    def _flowed(self, flow: link_pb2.Flow) -> None:
        call = self.calls.get(flow.id)
        if call is None or not flow.HasField("chunk"):
            return
        try:
            if call.window.bytes > WINDOW_BYTES:
                overrun = f"the client that offers tool {call.tool!r} sent over {WINDOW_BYTES} bytes of its stream before any were taken"
                raise SnakepitError(f"{overrun}: it must wait for Flow.taken", started=Started.YES)
            self._check_size(flow.chunk, "chunk", Started.YES)
        except SnakepitError as error:
            self.tell(link_pb2.Frame(cancel=link_pb2.Cancel(id=call.id, reason="CANCELLED")))
            call.fail(error)
            return
        call.chunk(flow.chunk)

    def closed(self) -> None:
        """The client has gone, and its tools with it."""
        self._tasks.cancel()
        self._nested.catalogue.leave(self)
        for call in list(self.calls.values()):
            call.fail(_gone(call, "went away"))

    def _check_size(self, payload: common_pb2.Payload, what: str, started: Started) -> None:
        size, limit = payload_bytes(payload), self._flow.limits.max_payload_bytes
        if size > limit:
            message = f"the {what} of a client's tool has {size} bytes, maxPayloadBytes allows {limit}"
            raise PayloadTooLarge(message, started=started, details={"limit": "maxPayloadBytes", "bytes": str(limit)})


def _gone(call: ClientCall, how: str) -> WorkerLost:
    return WorkerLost(f"the client that offers tool {call.tool!r} {how} during the call", details={"how": "client gone"})
