"""What each frame of a client SDK means, and whom it is for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from snakepit import _wire as links
from snakepit._wire import LinkClosed
from snakepit._wire.lane import AT_ONCE, Lane
from snakepit._wire.status import to_frame
from snakepit._wire.turns import Turns
from snakepit.errors import InvalidArguments, SnakepitError, Started, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.shares import full
from snakepit_control_plane.servers.arguments import set_apart
from snakepit_control_plane.servers.bulk import BulkCall
from snakepit_control_plane.servers.client_bulk import serve_client
from snakepit_control_plane.servers.credentials import Credentials
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.held import Held, PassedOn, PoolRights
from snakepit_control_plane.servers.offers import Provider

EXPIRED_SECONDS = 30.0
"""The calls of a link whose token has expired may end within this time."""


class ClientPeer:
    """A client SDK: its calls come in, their results go out; and the other way round for tools that it offers."""

    role = "client"

    def __init__(self, flow: Flow, link: links.Link, caller: Caller, door: Door, address: str, turns: Turns) -> None:
        """Raises CallerLimit."""
        self._turns = turns
        self._address = address
        self.whose_lanes = caller.subject or address
        self._counted = contextlib.ExitStack()
        self._shares = self._counted.enter_context(door.shares.link(caller, address))
        self._flow = flow
        self._door = door
        self._held = Held(self._send)
        self._passed_on = PassedOn(door, self._held, turns, self._known)
        self._rights = PoolRights(door, self._held, self._allowed)
        self.provider = Provider(flow, link, lambda: self._caller, door)
        self._link = link
        self._calls: dict[int, Call] = {}
        self._last_call = 0
        self._finished = False
        self._refusal: SnakepitError | None = None
        self._credentials = Credentials(door, caller, self._send, self._changed, self._expired)
        self._credentials.start()

    @property
    def _caller(self) -> Caller:
        return self._credentials.caller

    def _changed(self) -> None:
        self._passed_on.forget()
        self._rights.forget()

    def _expired(self) -> None:
        """What runs may end; the client dials again, and is told why it may not."""
        why = f"the token or certificate of {self._caller.subject}, which this link was opened with, has expired: give its next one in time"
        self._refusal = Unauthenticated(why)
        self._send(link_pb2.Frame(go_away=link_pb2.GoAway()))
        asyncio.get_running_loop().call_later(EXPIRED_SECONDS, self._link.close, why)

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        now, on_lane, with_others = self._flow.clock(), link.transport == Lane.name, len(frames) > 1
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "call":
                if not self._finished:
                    self._call(frame, now, on_lane, with_others)
            elif kind == "cancel":
                call = self._calls.get(frame.cancel.id)
                if call is not None:
                    self._flow.calls.cancel(call)
                elif self._held.cancel(frame.cancel.id):
                    pass
                elif len(self._flow.transfers):
                    self._abandon(frame.cancel.id)
            elif kind == "credentials":
                self._credentials.renew(frame.credentials.token)
            elif not self.provider.take(kind, frame):
                link.pass_over(frame)

    def _call(self, frame: link_pb2.Frame, now: float, on_lane: bool, with_others: bool, who: Caller | None = None) -> None:
        """`who`: whose it is, where that had to be waited for."""
        asked = frame.call
        id_ = asked.id
        if id_ in self._calls:
            self._hang_up(f"two calls of this link have the id {id_}: give each open call an id of its own")
            return
        if self._refusal is not None:
            self._fail(asked, self._refusal)
            return
        if who is None:
            who = self._credentials.caller
            if who.subject and asked.HasField("caller"):
                try:
                    who = self._passed_on.whose(who, frame)
                except SnakepitError as error:
                    self._fail(asked, error)
                    return
                if who is None:
                    return
        pool = self._flow.pools.named(asked.pool)
        any_session = self._rights.allow(who, pool.name, frame, now) if pool is not None else False
        if any_session is not None:
            self._take(who, frame, now, on_lane, with_others, any_session)

    def _known(self, who: Caller, frame: link_pb2.Frame) -> None:
        if not self._finished:
            self._call(frame, self._flow.clock(), self._link.transport == Lane.name, False, who)

    def _allowed(self, who: Caller, frame: link_pb2.Frame, any_session: bool) -> None:
        if not self._finished:
            self._take(who, frame, self._flow.clock(), self._link.transport == Lane.name, False, any_session)

    def _take(self, who: Caller, frame: link_pb2.Frame, now: float, on_lane: bool, with_others: bool, any_session: bool) -> None:
        asked = frame.call
        id_ = self._last_call = asked.id
        if asked.stream or asked.HasField("pieces"):
            self._fail(asked, InvalidArguments("streams and pieces don't travel on a link: use one of its bulk lanes"))
            return
        if (refusal := full(self._shares)) is not None:
            self._fail(asked, refusal)
            return
        source = None if on_lane else set_apart(asked, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(
            frame,
            self._reply,
            now,
            who=who,
            any_session=any_session,
            source=source,
            takes_pieces=on_lane,
            shares_memory=with_others,
        )
        if not call.answered:
            self._calls[id_] = call
            for share in self._shares:
                share.calls += 1

    def _reply(self, call: Call, frame: link_pb2.Frame) -> None:
        if call.answered and self._calls.pop(call.request.id, None) is not None:  # Else it is the call's Progress, or was never open.
            for share in self._shares:
                share.calls -= 1
        try:
            self._link.send_bytes(frame.SerializeToString())
        except LinkClosed:
            return  # `closed` has told, or will tell, the flow.

    def _fail(self, asked: link_pb2.Call, error: SnakepitError) -> None:
        self._send(link_pb2.Frame(result=link_pb2.Result(id=asked.id, call_id=asked.call_id, error=to_frame(error))))

    def _send(self, frame: link_pb2.Frame) -> None:
        try:
            self._link.send(frame)
        except LinkClosed:
            return  # `closed` has told, or will tell, the flow.

    def _hang_up(self, why: str) -> None:
        """Nothing more is taken of this link, and its calls end with it: their answers say why."""
        self._finished = True

        def end(call: Call) -> None:
            self._flow.calls.cancel(call, InvalidArguments(why, started=Started.MAYBE if call.may_have_run else Started.NO))

        self._end_calls(end, partial(self._link.close, why))

    def _end_calls(self, end: Callable[[Call], None], then: Callable[[], None]) -> None:
        """All that are open, from the next turn of the loop on: a thousand links may end together."""
        if self._calls:
            self._turns.wait(partial(self._in_turns, iter(list(self._calls.values())), end, then))
        else:
            then()

    def _in_turns(self, calls: Iterator[Call], end: Callable[[Call], None], then: Callable[[], None]) -> None:
        """End them, a few in each turn of the loop: a link may have thousands, and others would wait for the last of them."""
        some = list(islice(calls, AT_ONCE))
        for call in some:
            end(call)
        if some:
            self._turns.wait(partial(self._in_turns, calls, end, then))
        else:
            then()

    async def serve_bulk(self, bulk: BulkCall) -> None:
        if self._refusal is not None:
            raise self._refusal
        with self._door.shares.call(self._caller, self._address):
            await serve_client(self._flow, self._caller, self._door, lambda: self._finished, bulk)

    def with_lane(self) -> None:
        """Its frames take it."""

    def without_lane(self, port: int) -> None:
        """Its frames take the stream."""

    def _abandon(self, id_: int | None = None) -> None:
        """Nobody fetches the large result of that call any more; None: of any call of this link."""
        self._flow.transfers.abandon(lambda call: call.reply == self._reply and id_ in (None, call.id))

    def finish(self) -> None:
        """From now on its calls are not taken; it is told which was the last, so that it can send later ones elsewhere."""
        self._finished = True
        self._held.finish()
        with contextlib.suppress(LinkClosed):
            self._link.send(link_pb2.Frame(go_away=link_pb2.GoAway(last_call=self._last_call)))

    def closed(self) -> None:
        self._held.closed()
        self._credentials.closed()
        self.provider.closed()
        self._end_calls(self._flow.calls.cancel, self._ended)

    def _ended(self) -> None:
        """No call is open any more, so that no large result can come that nobody fetches."""
        self._abandon()
        self._counted.close()
