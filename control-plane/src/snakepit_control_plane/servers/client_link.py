"""What each frame of a client SDK means, and whom it is for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from snakepit import _wire as links
from snakepit._wire import LinkClosed
from snakepit._wire.lane import Lane
from snakepit._wire.status import to_frame
from snakepit.errors import InvalidArguments, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.servers.arguments import set_apart
from snakepit_control_plane.servers.bulk import BulkCall
from snakepit_control_plane.servers.client_bulk import serve_client
from snakepit_control_plane.servers.offers import Provider


class ClientPeer:
    """A client SDK: its calls come in, their results go out; and the other way round for tools that it offers."""

    role = "client"

    def __init__(self, flow: Flow, link: links.Link, caller: str) -> None:
        self._flow = flow
        self._caller = caller
        self.provider = Provider(flow, link)
        self._link = link
        self._calls: dict[int, Call] = {}
        self._last_call = 0
        self._finished = False

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
                elif len(self._flow.transfers):
                    self._abandon(frame.cancel.id)
            elif not self.provider.take(kind, frame):
                link.pass_over(frame)

    def _call(self, frame: link_pb2.Frame, now: float, on_lane: bool, with_others: bool) -> None:
        asked = frame.call
        id_ = asked.id
        if id_ in self._calls:
            self._hang_up(f"two calls of this link have the id {id_}: give each open call an id of its own")
            return
        self._last_call = id_
        if asked.stream or asked.HasField("pieces"):
            error = to_frame(InvalidArguments("streams and pieces don't travel on a link: use one of its bulk lanes"))
            self._send(link_pb2.Frame(result=link_pb2.Result(id=id_, call_id=asked.call_id, error=error)))
            return
        source = None if on_lane else set_apart(asked, self._flow.limits.max_payload_bytes)
        call = self._flow.intake.open(
            frame, self._reply, now, caller=self._caller, source=source, takes_pieces=on_lane, shares_memory=with_others
        )
        if not call.answered:
            self._calls[id_] = call

    def _reply(self, call: Call, frame: link_pb2.Frame) -> None:
        if call.answered:  # Else it is the call's Progress.
            self._calls.pop(call.request.id, None)
        self._send(frame)

    def _send(self, frame: link_pb2.Frame) -> None:
        try:
            self._link.send(frame)
        except LinkClosed:
            return  # `closed` has told, or will tell, the flow.

    def _hang_up(self, why: str) -> None:
        """Nothing more is taken of this link, and its calls end with it: their answers say why."""
        self._finished = True
        for call in list(self._calls.values()):
            self._flow.calls.cancel(call, InvalidArguments(why, started=Started.MAYBE if call.may_have_run else Started.NO))
        self._link.close(why)

    async def serve_bulk(self, bulk: BulkCall) -> None:
        await serve_client(self._flow, self._caller, lambda: self._finished, bulk)

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
        with contextlib.suppress(LinkClosed):
            self._link.send(link_pb2.Frame(go_away=link_pb2.GoAway(last_call=self._last_call)))

    def closed(self) -> None:
        for call in list(self._calls.values()):
            self._flow.calls.cancel(call)
        self.provider.closed()
        self._abandon()
