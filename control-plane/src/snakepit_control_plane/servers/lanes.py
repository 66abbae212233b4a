"""Where links find their lanes, and bulk lanes: one port, and two tickets for each link that takes them. What they carry is not looked at
here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from snakepit._wire.dial import parse_target
from snakepit._wire.lane import TICKET_BYTES, Lane
from snakepit.v1 import link_pb2

TICKET_SECONDS = 5.0
"""Whoever has a ticket shows it within this time, and whoever connects shows one."""

MOST_UNSHOWN = 1024
"""Connections that have shown no ticket yet; with one more, the oldest is hung up on."""


class Lanes:
    """`host`: where peers find this replica, if not at the address that they dialled."""

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._port = 0
        self._server: asyncio.Server | None = None
        self._awaited: dict[bytes, asyncio.Future[Lane]] = {}
        self._bulk: dict[bytes, Callable[[Lane, bytes], None]] = {}
        self._unshown: dict[Lane, asyncio.TimerHandle] = {}

    async def start(self, listen: str) -> None:
        """Raises OSError when the address can't be listened on."""
        host, port = parse_target(listen)
        self._server = await asyncio.get_running_loop().create_server(self._came, host, port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Lanes end with their links."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for lane in list(self._unshown):
            lane.abort()

    def offer(self) -> tuple[link_pb2.Lane, asyncio.Future[Lane]] | None:
        """What a Welcome says of the lane, and the lane when it comes; cancel it if it is wanted no more. None: there are no lanes."""
        if self._server is None:
            return None
        ticket = secrets.token_bytes(TICKET_BYTES)
        awaited: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()
        awaited.add_done_callback(lambda _: self._awaited.pop(ticket, None))
        self._awaited[ticket] = awaited
        return link_pb2.Lane(host=self._host, port=self._port, ticket=ticket), awaited

    def offer_bulk(self, serve: Callable[[Lane, bytes], None]) -> bytes:
        """A ticket that is good until `withdraw_bulk`: `serve` gets each connection that shows it, and takes it or aborts it."""
        ticket = secrets.token_bytes(TICKET_BYTES)
        self._bulk[ticket] = serve
        return ticket

    def withdraw_bulk(self, ticket: bytes) -> None:
        self._bulk.pop(ticket, None)

    def _came(self) -> Lane:
        lane = Lane(self._shown)
        if len(self._unshown) >= MOST_UNSHOWN:
            next(iter(self._unshown)).abort()
        # A connection that was on its way when the port was closed ends as soon as it is made.
        seconds = TICKET_SECONDS if self._server is not None else 0.0
        self._unshown[lane] = asyncio.get_running_loop().call_later(seconds, lane.abort)
        lane.ended.add_done_callback(lambda _: self._hung_up(lane))
        return lane

    def _hung_up(self, lane: Lane) -> None:
        """Before it had shown a ticket nobody else would close it."""
        if lane in self._unshown:
            self._hurries(lane)
            lane.abort()

    def _hurries(self, lane: Lane) -> None:
        """No longer: it has shown its ticket, or has gone."""
        if (timer := self._unshown.pop(lane, None)) is not None:
            timer.cancel()

    def _shown(self, lane: Lane, ticket: bytes) -> None:
        self._hurries(lane)
        if (serve := self._bulk.get(ticket)) is not None:
            serve(lane, ticket)
            return
        awaited = self._awaited.get(ticket)
        if awaited is None or awaited.done():
            lane.abort()
        else:
            lane.admit(ticket)
            awaited.set_result(lane)
