"""The lane port: who shows a ticket there gets what the ticket is for. What the connections carry is not looked at here."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable

from snakepit._wire.connect import TICKET_BYTES, Connection, accept, admit
from snakepit._wire.targets import parse_target
from snakepit._wire.turns import Turns
from snakepit_control_plane.servers.certificate import Certificate

TICKET_SECONDS = 5.0
"""Whoever has a ticket shows it within this time, and whoever connects shows one."""

MOST_UNSHOWN = 256
"""Connections that have shown no ticket yet; with one more, the oldest is hung up on, of the address that has most of them. All of them
hang up at once within 10 ms."""

MOST_AT_ONCE = 8
"""So many are taken in one turn of the loop, as each is work for it."""

BACKLOG = 1024

SHORT_SECONDS = 1.0
"""After a connection could not be taken (there are no more descriptors, say), the next one is tried so much later."""

Take = Callable[[Connection], bool]

log = logging.getLogger(__name__)


class Lanes:
    """`host`: where peers find this replica, if not at the address that they dialled. `certificate`: with it all is TLS."""

    def __init__(self, host: str = "", certificate: Certificate | None = None) -> None:
        self.host = host
        self._certificate = certificate
        self._turns = Turns()
        self.port = 0
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.tickets: dict[bytes, Take] = {}
        self.unshown: dict[asyncio.Task[None], str] = {}
        """Connections that have shown no ticket yet, the oldest first, with the address that each is from."""

    async def start(self, listen: str) -> None:
        """Raises OSError when the address can't be listened on."""
        host, port = parse_target(listen)
        family, kind, protocol, _, address = (await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listener, self.port = listener, listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(listener), name="lane port")

    async def stop(self) -> None:
        """Lanes end with their links."""
        tasks = [*self.unshown, *([self._accepting] if self._accepting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def ticket(self, take: Take) -> bytes:
        """A ticket that is good until `withdraw`: `take` gets each connection that shows it; True: it is its own now."""
        ticket = secrets.token_bytes(TICKET_BYTES)
        self.tickets[ticket] = take
        return ticket

    def withdraw(self, ticket: bytes) -> None:
        self.tickets.pop(ticket, None)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            if number % MOST_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("a connection at the lane port can't be taken: %s", error)
                await asyncio.sleep(SHORT_SECONDS)
                continue
            if len(self.unshown) >= MOST_UNSHOWN:
                self._hang_up_one()
            task = asyncio.create_task(self._admit(sock), name="ticket at the lane port")
            self.unshown[task] = address[0]
            task.add_done_callback(lambda task: self.unshown.pop(task, None))

    def _hang_up_one(self) -> None:
        """However many come from one address, others are not hung up on for them."""
        crowd = Counter(self.unshown.values()).most_common(1)[0][0]
        task = next(task for task, address in self.unshown.items() if address == crowd)
        del self.unshown[task]  # Now: several may be taken before it ends, and each hangs up another one.
        task.cancel()

    async def _admit(self, sock: socket.socket) -> None:
        with contextlib.ExitStack() as closing:
            closing.callback(sock.close)
            ticket, connection = await accept(sock, TICKET_SECONDS, self._certificate.context() if self._certificate else None)
            take = self.tickets.get(ticket)
            if take is None:  # Whoever has many hangs up on all of them at once.
                await self._turns.turn()
            elif take(connection):
                closing.pop_all()
                with contextlib.suppress(OSError):  # Whoever has taken it is told.
                    admit(connection, ticket)
