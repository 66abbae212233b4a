"""The calls that a client makes: each goes to a replica, waits for its answer, goes out again where it may, and is told its outcome.

What may have started is sent again only where running it twice does no harm; what may go out once more, and when, is `retries`'
to decide. It knows nothing of values: payloads come and go encoded.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from snakepit._ipc import frames
from snakepit._ipc.sections import spread
from snakepit._retry import RetryBudget
from snakepit._telemetry import spans
from snakepit._telemetry.span import Span
from snakepit._wire import LinkClosed
from snakepit._wire.status import Metadata, from_frame
from snakepit._wire.token import bearing
from snakepit.client import asking, local_errors
from snakepit.client import exchange as exchanges
from snakepit.client.codec import Large
from snakepit.client.exchange import Exchange, Watch
from snakepit.client.peer import NotWritten, Peer, check_size, inlined, is_broken
from snakepit.client.peers import Peers
from snakepit.client.retries import Tries, is_elsewhere
from snakepit.client.within import around, earlier, within
from snakepit.errors import DeadlineExceeded, Draining, PoolNotReady, ReplicaLost, SnakepitError, Started
from snakepit.v1 import link_pb2, tool_pb2

DEADLINE_GRACE_SECONDS = 0.5
"""The replica knows best how a call met its deadline; it is given this much longer to say so."""

RPC_SECONDS = 10.0
"""The deadline of requests that only look something up or change a session."""

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Message)


class Connection:
    """The calls that a client makes. `peers`: its links. `caller`: whose calls they are, if not the client's own."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.caller: link_pb2.Caller | None = None
        self._budget = RetryBudget()
        self._asking: dict[tuple[str, str], asyncio.Task[bool]] = {}

    def as_caller(self, caller: link_pb2.Caller) -> Connection:
        """The same connection, for that one's calls."""
        theirs = copy.copy(self)
        theirs.caller = caller
        return theirs

    def metadata(self) -> Metadata:
        """What goes with an RPC. Raises SnakepitError."""
        if self.caller is None:
            return self.peers.metadata()
        if self.caller.token:
            return bearing(self.caller.token)
        groups = (("impersonate-group", each) for each in self.caller.groups)
        return (*self.peers.metadata(), ("impersonate-user", self.caller.subject), *groups)

    async def stop(self) -> None:
        await self.peers.stop()
        # They fail now. Cancelled, they would cancel the calls that wait for them.
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def call(
        self,
        frame: link_pb2.Frame,
        now: float,
        deadline: float | None,
        watch: Watch | None = None,
        large: frames.Payload | None = None,
        span: Span | None = None,
    ) -> link_pb2.Result | Large:
        """Send a call's frame and wait for its Result. `now` is what `check_loop` says, `deadline` too, None leaves it to the pool; `watch`
        gets its Progress.

        `large`: its arguments, where the frame doesn't hold them. A large result comes without its Result.

        Raises ReplicaLost, DeadlineExceeded, ServerUnavailable. A cancelled caller's Cancel is sent.
        """
        call, peers = frame.call, self.peers
        if (serves := within.get()) is not None:
            deadline = earlier(deadline)
        tries = Tries(self._budget, deadline, now, span)
        while True:
            nested, peer = False, peers.next(tries.avoided) if serves is None else None
            if peer is None:
                peer, nested = await self.choose(call, tries)
            try:
                if large is None:
                    answer: link_pb2.Result | Large = await self._ask(peer, frame, deadline, watch)
                else:
                    answer = await self._exchange(peer, frame, deadline, large, watch)
                if type(answer) is link_pb2.Result and answer.HasField("pieces"):
                    answer = await self._fetch(peer, answer, deadline)
                if isinstance(answer, Large) or not answer.HasField("error"):
                    if span is not None:
                        span.set({spans.SERVER: peer.replica.address})
                    return answer
                raise from_frame(answer.error)
            except (NotWritten, SnakepitError) as failure:
                await self.again(peer, call, tries, failure, nested=nested)

    def tries(self, deadline: float | None, span: Span | None = None) -> Tries:
        """For a call that is about to go out for the first time. Raises SnakepitError where the client can't be used."""
        return Tries(self._budget, earlier(deadline), self.peers.check_loop(), span)

    async def choose(self, call: link_pb2.Call, tries: Tries) -> tuple[Peer, bool]:
        """The replica that a call goes to; True where it must be that one, because the call that it is nested in is there.

        Raises ServerUnavailable, or how the call failed when it went out before.
        """
        if (nesting := around()) is not None:
            peer, call.parent_call_id = nesting
            return peer, True
        if (found := self.peers.next(tries.avoided)) is not None:
            return found, False
        try:
            return await self.peers.wait(tries.deadline), False
        except SnakepitError as error:
            failure = tries.told(error)
            raise failure from failure.__cause__

    async def again(
        self, peer: Peer, call: link_pb2.Call, tries: Tries, failure: SnakepitError | NotWritten, *, nested: bool = False
    ) -> None:
        """Return when a call that has failed may go out once more; else raise how it failed."""
        if nested or self.peers.stopped:
            if isinstance(failure, NotWritten):
                failure = local_errors.replica_lost(peer.replica.address, "it never got the call", Started.NO)
            raise failure
        await self._pause(peer, tries, failure, lambda: self._may_run_twice(call, tries.deadline))
        if tries.span is not None:
            _tell(tries.span, peer, tries.number - 1, failure)
        log.debug("call %s of %s goes out again, try %d: %s", call.call_id, call.tool, tries.number, failure or "it had not left")

    async def _pause(self, peer: Peer, tries: Tries, failure: SnakepitError | NotWritten, twice: Callable[[], Awaitable[bool]]) -> None:
        """As `again`; `twice`: would it do no harm if it ran again?"""
        if isinstance(failure, NotWritten):
            if not tries.still_unsent():
                raise tries.told(self.peers.no_server())
            return
        others = self._avoids(peer, tries)  # By this call alone: whether others may take its link, the link says.
        if isinstance(failure, ReplicaLost):
            tries.lost = failure
            allowed = await twice()
        elif isinstance(failure, Draining):
            allowed = True
        else:
            allowed = is_elsewhere(failure) and others
        pause = tries.once_more(asyncio.get_running_loop().time(), random.random) if allowed else None
        if pause is None:
            raise tries.told(failure)
        await asyncio.sleep(pause)

    def _avoids(self, peer: Peer, tries: Tries) -> bool:
        """Avoid that one from now on. False: there is no other that has not been tried."""
        tries.avoided.add(peer)
        return any(each not in tries.avoided for each in self.peers.usable)

    async def _may_run_twice(self, call: link_pb2.Call, deadline: float | None) -> bool:
        """Asked when a replica was lost: once for all of its calls of a tool."""
        if call.idempotency_key:
            return True
        which = call.pool, call.tool
        if which not in self._asking:
            task = self._asking[which] = asyncio.create_task(self._is_idempotent(*which), name=f"is {call.tool} idempotent?")
            task.add_done_callback(lambda _: self._asking.pop(which))
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._asking[which])
        except TimeoutError:
            return False

    async def _is_idempotent(self, pool: str, tool: str) -> bool:
        request = tool_pb2.GetToolRequest(pool=pool, tool=tool)
        try:
            reply = await self.ask(request, tool_pb2.GetToolResponse)
        except SnakepitError as error:
            log.debug("whether %s of %s may run twice can't be asked: %s", tool, pool, error)
            return False
        return reply.tool.idempotent

    async def ask(self, request: Message, answer: type[R], *, safe: bool = True, along: Metadata = ()) -> R:
        """One request beside the link. `safe`: a second run does no harm, so a broken connection means another replica.

        `along`: what else goes with it.
        """
        deadline = self.peers.check_loop() + RPC_SECONDS
        tries, now = self.tries(deadline), asyncio.get_running_loop().time

        async def twice() -> bool:
            return safe

        while True:
            peer, metadata = self.peers.next(tries.avoided) or await self.peers.wait(deadline), self.metadata()
            try:
                return await asking.ask(peer, request, answer, max(0.0, deadline - now()), (*metadata, *along))
            except SnakepitError as failure:
                error = failure
            if self.peers.stopped:
                raise error
            if isinstance(error, PoolNotReady) and self._avoids(peer, tries):
                continue  # One that has just started says at once that it doesn't know: each is asked once, which is no storm.
            await self._pause(peer, tries, error, twice)

    async def ask_all(self, request: Message, answer: type[R]) -> tuple[list[R], tuple[str, ...]]:
        """One request to every replica, as `asking.ask_all` says."""
        return await asking.ask_all(self.peers, request, answer, self.metadata)

    async def _ask(self, peer: Peer, frame: link_pb2.Frame, deadline: float | None, watch: Watch | None) -> link_pb2.Result:
        """One try. Raises NotWritten, and SnakepitError for what the replica did not say in a Result."""
        call, loop = frame.call, asyncio.get_running_loop()
        call.id = id_ = peer.link.next_id()
        if deadline is not None:
            call.timeout_seconds = max(1e-3, deadline - loop.time())
            peer.overdue_at[id_] = deadline + DEADLINE_GRACE_SECONDS
            self.peers.sweep_soon()
        future: asyncio.Future[link_pb2.Result] = loop.create_future()
        peer.waiting[id_] = future
        if watch is not None:
            peer.watching[id_] = watch
        try:
            peer.link.send(frame)
            return await future
        except LinkClosed:
            self.peers.retire(peer)
            raise NotWritten from None
        except (asyncio.CancelledError, DeadlineExceeded):
            peer.cancel(id_)
            raise
        finally:
            del peer.waiting[id_]
            if watch is not None:
                del peer.watching[id_]
            peer.overdue_at.pop(id_, None)

    async def _exchange(
        self, peer: Peer, frame: link_pb2.Frame, deadline: float | None, large: frames.Payload, watch: Watch | None
    ) -> link_pb2.Result | Large:
        check_size(peer.replica, large)
        if peer.replica.bulk is None:
            return await self._ask(peer, link_pb2.Frame(call=inlined(frame.call, large)), deadline, watch)
        exchange = self.exchange(peer, frame.call, deadline, large, watch)
        try:
            return await exchanges.call(exchange, frame.call)
        except SnakepitError as error:
            if not is_broken(error):
                raise
            raise local_errors.broken(peer.replica.address, error.message, never_started=exchange.never_started) from None
        finally:
            exchange.cancel()

    def exchange(
        self, peer: Peer, call: link_pb2.Call, deadline: float | None, large: frames.Payload | None, watch: Watch | None = None
    ) -> Exchange:
        """For one call, which gets what is left of its deadline."""
        if deadline is not None:
            call.timeout_seconds = _left(deadline)
        patience = None if deadline is None else _left(deadline) + DEADLINE_GRACE_SECONDS
        return Exchange(peer.replica, patience, spread(large) if large is not None else None, watch)

    async def _fetch(self, peer: Peer, result: link_pb2.Result, deadline: float | None) -> Large:
        exchange = Exchange(peer.replica, None if deadline is None else _left(deadline) + DEADLINE_GRACE_SECONDS)
        try:
            return await exchanges.fetch(exchange, result)
        except asyncio.CancelledError:
            peer.cancel(result.id)  # The wish may never have reached the replica.
            raise
        except SnakepitError as error:
            raise (local_errors.replica_lost(peer.replica.address, error.message) if is_broken(error) else error) from None
        finally:
            exchange.cancel()


def _tell(span: Span, peer: Peer, resent: int, failure: SnakepitError | NotWritten) -> None:
    """A call's span hears that it goes out again, and why."""
    said: dict[str, str | int] = {spans.SERVER: peer.replica.address}
    if isinstance(failure, SnakepitError):
        said |= {spans.REASON: failure.reason, spans.STARTED: str(failure.started)}
    span.event(spans.SENT_AGAIN, said)
    span.set({spans.RESENT: resent})


def _left(deadline: float) -> float:
    return max(1e-3, deadline - asyncio.get_running_loop().time())
