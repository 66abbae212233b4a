"""The caller's ends of all links: picks a replica for each call, keeps what waits for an answer, and says what became of it.

What may have started is sent again only where running it twice does no harm; what may go out once more, and when, is `trying`'s
to decide. It knows nothing of values: payloads come and go encoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence, Set
from typing import TypeVar

import grpc

from snakepit import __version__
from snakepit._ipc import frames
from snakepit._ipc.sections import spread
from snakepit._retry import RetryBudget
from snakepit._telemetry.tracing import Span
from snakepit._wire import Dialer, Link, LinkClosed
from snakepit._wire.dial import Lanes, Replica
from snakepit._wire.forks import forked_from
from snakepit._wire.status import from_cancelled, from_frame, from_rpc_error
from snakepit._wire.token import Token
from snakepit.client import exchange as exchanges
from snakepit.client import local_errors
from snakepit.client.exchange import Exchange, Watch
from snakepit.client.peer import NotWritten, Peer, check_size, inlined, is_broken
from snakepit.client.retries import Tries, is_elsewhere
from snakepit.client.serving import Serving
from snakepit.errors import DeadlineExceeded, Draining, ReplicaLost, SnakepitError, Started
from snakepit.v1 import link_pb2, tool_pb2

DEADLINE_GRACE_SECONDS = 0.5
"""The replica knows best how a call met its deadline; it is given this much longer to say so."""

SWEEP_SECONDS = 0.25

REFUSED_SECONDS = 0.5
"""A client that never had a link waits this long after a refused dial: another replica may still answer."""

POLL_SECONDS = 0.1
"""A caller that waits for a link looks this often whether dialling has failed for good."""

RPC_SECONDS = 10.0
"""The deadline of requests that only look something up or change a session."""


log = logging.getLogger(__name__)

R = TypeVar("R")

_WAYS = {
    True: "frames take a lane, what is large or streams has bulk lanes",
    False: "its lane port can't be reached, so all takes gRPC: slower, and no payload is larger than maxPayloadBytes",
}


class Connection:
    """Links to every replica behind one address. `token_file` is read again at every dial and request, because tokens rotate."""

    def __init__(
        self, target: str, *, token_file: str | os.PathLike[str] | None, connect_seconds: float, lanes: Lanes = Lanes.WANTED
    ) -> None:
        self.target = target
        self.metadata = Token(token_file).metadata
        self._connect_seconds = connect_seconds
        self._dialer = Dialer(
            target, _hello, self._on_frames, self._on_open, self._on_close, metadata=self.metadata, lanes=lanes, expects=self._expects
        )
        self._peers: dict[Link, Peer] = {}
        self._usable: list[Peer] = []
        self._turn = 0
        self._opened = asyncio.Event()
        self._ever_open = False
        self._budget = RetryBudget()
        self._asking: dict[tuple[str, str], asyncio.Task[bool]] = {}
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self.serving: Serving | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Raises SnakepitError in a process that was forked while gRPC ran."""
        if parent := forked_from():
            raise local_errors.forked(parent)
        self._loop = asyncio.get_running_loop()
        self._dialer.start()

    @property
    def is_forked(self) -> bool:
        """Was it opened in another process, of which this one is a copy?"""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raises SnakepitError in a forked child."""
        if self.is_forked:
            raise local_errors.of_another_process(self._pid)

    def check_loop(self) -> float:
        """The loop's time. Raises SnakepitError in a forked child, and in another event loop than the one that it was opened in."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # As in a child that was forked inside a coroutine.
            self.check_process()
            raise
        if loop is not self._loop:
            self.check_process()
            raise local_errors.of_another_loop()
        return loop.time()

    async def stop(self) -> None:
        self._stopped = True
        if self.serving is not None:
            await self.serving.stop()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for task in self._asking.values():
            task.cancel()
        await self._dialer.stop()

    @property
    def peers(self) -> list[Peer]:
        """Every open link, those to replicas that are about to stop included."""
        return list(self._peers.values())

    async def every_link(self, seconds: float) -> None:
        """Wait until each address that is known has been linked, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._dialer.all_linked:
                    self._opened.clear()
                    await self._opened.wait()

    async def call(
        self,
        frame: link_pb2.Frame,
        now: float,
        deadline: float | None,
        watch: Watch | None = None,
        large: frames.Payload | None = None,
        span: Span | None = None,
    ) -> link_pb2.Result | frames.Payload:
        """Send a call's frame and wait for its Result. `now` is what `check_loop` says, `deadline` too, None leaves it to the pool; `watch`
        gets its Progress.

        `large`: its arguments, where the frame doesn't hold them. A large result comes without its Result.

        Raises ReplicaLost, DeadlineExceeded, ServerUnavailable. A cancelled caller's Cancel is sent.
        """
        call = frame.call
        if self.serving is not None:
            deadline = self.serving.earlier(deadline)
        tries = Tries(self._budget, deadline, now, span)
        while True:
            nested, peer = False, self._next_peer(tries.avoided) if self.serving is None else None
            if peer is None:
                peer, nested = await self.choose(call, tries)
            try:
                if large is None:
                    answer: link_pb2.Result | frames.Payload = await self._ask(peer, frame, deadline, watch)
                else:
                    answer = await self._exchange(peer, frame, deadline, large, watch)
                if type(answer) is link_pb2.Result and answer.HasField("pieces"):
                    answer = await self._fetch(peer, answer, deadline)
                if isinstance(answer, frames.Payload) or not answer.HasField("error"):
                    return answer
                raise from_frame(answer.error)
            except (NotWritten, SnakepitError) as failure:
                await self.again(peer, call, tries, failure, nested=nested)

    def tries(self, deadline: float | None, span: Span | None = None) -> Tries:
        """For a call that is about to go out for the first time. Raises SnakepitError where the client can't be used."""
        if self.serving is not None:
            deadline = self.serving.earlier(deadline)
        return Tries(self._budget, deadline, self.check_loop(), span)

    async def choose(self, call: link_pb2.Call, tries: Tries) -> tuple[Peer, bool]:
        """The replica that a call goes to; True where it must be that one, because the call that it is nested in is there.

        Raises ServerUnavailable, or how the call failed when it went out before.
        """
        if self.serving is not None and (around := self.serving.around()) is not None:
            peer, call.parent_call_id = around
            return peer, True
        if (found := self._next_peer(tries.avoided)) is not None:
            return found, False
        try:
            return await self._wait_for_peer(tries.deadline), False
        except SnakepitError as error:
            failure = tries.told(error)
            raise failure from failure.__cause__

    async def again(
        self, peer: Peer, call: link_pb2.Call, tries: Tries, failure: SnakepitError | NotWritten, *, nested: bool = False
    ) -> None:
        """Return when a call that has failed may go out once more; else raise how it failed."""
        if nested or self._stopped:
            raise (
                local_errors.replica_lost(peer.replica.address, "it never got the call", Started.NO)
                if isinstance(failure, NotWritten)
                else failure
            )
        await self._pause(peer, tries, failure, lambda: self._may_run_twice(call, tries.deadline))
        if tries.span is not None:
            tries.span.set({"snakepit.resend_count": tries.number - 1})
        log.debug("call %s of %s goes out again, try %d: %s", call.call_id, call.tool, tries.number, failure or "it had not left")

    async def _pause(self, peer: Peer, tries: Tries, failure: SnakepitError | NotWritten, twice: Callable[[], Awaitable[bool]]) -> None:
        """As `again`; `twice`: would it do no harm if it ran again?"""
        if isinstance(failure, NotWritten):
            self.retire(peer)
            if not tries.still_unsent():
                raise tries.told(local_errors.no_server(self.target, self._dialer.last_error))
            return
        if isinstance(failure, ReplicaLost):
            tries.lost = failure
            tries.avoided.add(peer)  # Its link may not have broken yet.
            allowed = await twice()
        elif isinstance(failure, Draining):
            self.retire(peer)
            allowed = True
        else:
            tries.avoided.add(peer)
            allowed = is_elsewhere(failure) and any(each not in tries.avoided for each in self._usable)
        pause = tries.once_more(asyncio.get_running_loop().time(), random.random) if allowed else None
        if pause is None:
            raise tries.told(failure)
        await asyncio.sleep(pause)

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
            reply: tool_pb2.GetToolResponse = await self.unary(lambda peer: peer.tools.GetTool, request, safe=True)
        except SnakepitError as error:
            log.debug("whether %s of %s may run twice can't be asked: %s", tool, pool, error)
            return False
        return reply.tool.idempotent

    async def unary(self, method: Callable[[Peer], Callable[..., Awaitable[R]]], request: object, *, safe: bool) -> R:
        """One request beside the link. `safe`: a second run does no harm, so a broken connection means another replica."""
        deadline = self.check_loop() + RPC_SECONDS
        tries, now = self.tries(deadline), asyncio.get_running_loop().time

        async def twice() -> bool:
            return safe

        while True:
            peer = self._next_peer(tries.avoided) or await self._wait_for_peer(deadline)
            peer.replica.uses.begin()
            try:
                return await method(peer)(request, timeout=max(0.0, deadline - now()), metadata=self.metadata())
            except grpc.RpcError as raised:
                error = from_rpc_error(raised)
            except asyncio.CancelledError:
                error = from_cancelled()
            finally:
                peer.replica.uses.end()
            if is_broken(error):
                self.retire(peer)
                error = local_errors.replica_lost(peer.replica.address, error.message)
            if self._stopped:
                raise error
            await self._pause(peer, tries, error, twice)

    async def peer(self) -> Peer:
        """An open link, in turn. Waits for one within the bounds; raises ServerUnavailable."""
        self.check_loop()
        return self._next_peer() or await self._wait_for_peer(None)

    def _next_peer(self, avoided: Set[Hashable] = frozenset()) -> Peer | None:
        """Round robin. One that does not answer now is better than none, and one that is to be avoided better than that."""
        usable = self._usable
        if self._dialer.any_suspect:
            usable = [each for each in usable if not each.replica.silence.is_suspect] or usable
        if avoided:
            usable = [each for each in usable if each not in avoided] or usable
        if not usable:
            return None
        self._turn = (self._turn + 1) % len(usable)
        return usable[self._turn]

    async def _wait_for_peer(self, deadline: float | None) -> Peer:
        now = asyncio.get_running_loop().time
        begin = now()
        end = begin + self._connect_seconds
        if deadline is not None:
            end = min(end, deadline)
        while True:
            self._opened.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL_SECONDS, max(0.0, end - now()))):
                    await self._opened.wait()
            peer = self._next_peer()
            if peer is not None:
                return peer
            error = self._dialer.last_error
            refused = error is not None and not self._ever_open and now() - begin > REFUSED_SECONDS
            if now() >= end or refused or self._stopped:
                raise local_errors.no_server(self.target, error)

    async def _ask(self, peer: Peer, frame: link_pb2.Frame, deadline: float | None, watch: Watch | None) -> link_pb2.Result:
        """One try. Raises NotWritten, and SnakepitError for what the replica did not say in a Result."""
        call, loop = frame.call, asyncio.get_running_loop()
        call.id = id_ = peer.link.next_id()
        if deadline is not None:
            call.timeout_seconds = max(1e-3, deadline - loop.time())
            peer.overdue_at[id_] = deadline + DEADLINE_GRACE_SECONDS
            if self._sweep_timer is None:
                self._sweep_timer = loop.call_later(SWEEP_SECONDS, self._sweep)
        future: asyncio.Future[link_pb2.Result] = loop.create_future()
        peer.waiting[id_] = future
        if watch is not None:
            peer.watching[id_] = watch
        try:
            peer.link.send(frame)
            return await future
        except LinkClosed:
            self.retire(peer)
            raise NotWritten from None
        except (asyncio.CancelledError, DeadlineExceeded):
            peer.cancel(id_)
            raise
        finally:
            del peer.waiting[id_]
            if watch is not None:
                del peer.watching[id_]
            peer.overdue_at.pop(id_, None)

    def _sweep(self) -> None:
        """A replica that says nothing of a deadline: one look at all calls now and then, instead of a timer for each."""
        loop = asyncio.get_running_loop()
        waits = [peer for peer in self._peers.values() if peer.expire(loop.time())]
        self._sweep_timer = loop.call_later(SWEEP_SECONDS, self._sweep) if waits else None

    async def _exchange(
        self, peer: Peer, frame: link_pb2.Frame, deadline: float | None, large: frames.Payload, watch: Watch | None
    ) -> link_pb2.Result | frames.Payload:
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
        left = None if deadline is None else max(1e-3, deadline - asyncio.get_running_loop().time())
        if left is not None:
            call.timeout_seconds = left
            left += DEADLINE_GRACE_SECONDS
        return Exchange(peer.replica, left, spread(large) if large is not None else None, watch)

    async def _fetch(self, peer: Peer, result: link_pb2.Result, deadline: float | None) -> frames.Payload:
        left = None if deadline is None else max(1e-3, deadline - asyncio.get_running_loop().time()) + DEADLINE_GRACE_SECONDS
        exchange = Exchange(peer.replica, left)
        try:
            return await exchanges.fetch(exchange, result)
        except asyncio.CancelledError:
            peer.cancel(result.id)  # The wish may never have reached the replica.
            raise
        except SnakepitError as error:
            raise (local_errors.replica_lost(peer.replica.address, error.message) if is_broken(error) else error) from None
        finally:
            exchange.cancel()

    def retire(self, peer: Peer) -> None:
        """Send nothing more there; what waits is still answered."""
        if peer in self._usable:
            self._usable.remove(peer)

    def _expects(self, replica: Replica) -> bool:
        peer = self._peers.get(replica.link)
        return peer is not None and bool(peer.waiting or replica.uses.any)

    def _on_open(self, replica: Replica) -> None:
        peer = Peer(replica)
        self._peers[replica.link] = peer
        self._usable.append(peer)
        if not self._ever_open:
            log.info("linked to the control plane: %s", _WAYS[replica.bulk is not None])
        self._ever_open = True
        self._opened.set()
        if self.serving is not None:
            self.serving.offers.linked(peer)

    def _on_close(self, replica: Replica, reason: str) -> None:
        peer = self._peers.pop(replica.link)
        self.retire(peer)
        peer.give_up(reason)
        if self.serving is not None:
            self.serving.unlinked(peer)

    def _on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        peer = self._peers[link]
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "result":
                peer.answer(frame.result)
            elif kind == "go_away":
                self.retire(peer)
                if frame.go_away.HasField("last_call"):
                    peer.taken = frame.go_away.last_call
                self._dialer.renew(peer.replica)
            elif kind == "progress":
                peer.progress(frame.progress)
            elif self.serving is None or not self.serving.take(peer, kind, frame):
                link.pass_over(frame)


def _hello(_address: str) -> link_pb2.Hello:
    return link_pb2.Hello(role=link_pb2.ROLE_CLIENT, version=__version__)
