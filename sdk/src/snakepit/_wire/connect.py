"""How a connection to a replica's lane port comes about, at either end. Whatever is to protect it goes here and nowhere else.

Who dials shows a ticket, 16 bytes that a Welcome has given it, and gets it back from an end that knows it. Then the connection is a
link's lane (see `lane`) or one of its bulk lanes (see `bulk`), which the ticket says. With TLS its handshake comes before all that.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys

from snakepit._wire.channels import KEEPALIVE_TIMEOUT_SECONDS, SILENT_SECONDS
from snakepit._wire.secured import Secured

TICKET_BYTES = 16

Connection = socket.socket | Secured

Tls = tuple[ssl.SSLContext, str]
"""For whoever dials: and whom the other end's certificate must name."""


async def dial(host: str, port: int, ticket: bytes, seconds: float, tls: Tls | None = None) -> Connection | None:
    """A connection that has the ticket back; None where there is none to be had within so many seconds."""
    loop = asyncio.get_running_loop()
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(seconds):
            family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _keep_alive(sock)
            connection = sock if tls is None else await _secured(sock, *tls)
            if isinstance(connection, Secured):
                await connection.send_all(ticket)
            else:
                await loop.sock_sendall(connection, ticket)
            if await _ticket(connection) == ticket:
                sock = None
                return connection
    except (OSError, TimeoutError):
        pass
    finally:
        if sock is not None:
            sock.close()
    return None


async def accept(sock: socket.socket, seconds: float, context: ssl.SSLContext | None = None) -> tuple[bytes, Connection]:
    """The ticket that a new connection shows; empty where it shows none within so many seconds. `admit` gives it back."""
    sock.setblocking(False)
    _keep_alive(sock)
    try:
        async with asyncio.timeout(seconds):
            connection = sock if context is None else await _secured(sock, context)
            return await _ticket(connection), connection
    except (OSError, TimeoutError):
        return b"", sock


def admit(connection: Connection, ticket: bytes) -> None:
    """At the accepting end: the ticket is known. Raises OSError where the other end has hung up."""
    connection.send(ticket)


async def _secured(sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> Secured:
    secured = Secured(sock, context, name)
    await secured.handshake()
    return secured


async def _ticket(connection: Connection) -> bytes:
    """Empty: the other end has hung up."""
    ticket = b""
    while len(ticket) < TICKET_BYTES:
        left = TICKET_BYTES - len(ticket)
        if isinstance(connection, Secured):
            more = await connection.receive(left)
        else:
            more = await asyncio.get_running_loop().sock_recv(connection, left)
        if not more:
            return b""
        ticket += more
    return ticket


def _keep_alive(sock: socket.socket) -> None:
    """No box between may forget an idle lane. That the peer's machine has vanished is noticed by the stream, under load too."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        probes = 2
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(SILENT_SECONDS) - probes * KEEPALIVE_TIMEOUT_SECONDS)
