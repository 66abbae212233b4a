"""How a connection to a replica's lane port comes about, at either end. Whatever is to protect it goes here and nowhere else.

Who dials shows a ticket, 16 bytes that a Welcome has given it, and gets it back from an end that knows it. Then the connection is a
link's lane (see `lane`) or one of its bulk lanes (see `bulk`), which the ticket says.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from snakepit._wire.channels import KEEPALIVE_TIMEOUT_SECONDS, SILENT_SECONDS

TICKET_BYTES = 16


async def dial(host: str, port: int, ticket: bytes, seconds: float) -> socket.socket | None:
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
            await loop.sock_sendall(sock, ticket)
            if await _ticket(sock) == ticket:
                dialled, sock = sock, None
                return dialled
    except (OSError, TimeoutError):
        pass
    finally:
        if sock is not None:
            sock.close()
    return None


async def accept(sock: socket.socket, seconds: float) -> bytes:
    """The ticket that a new connection shows; empty where it shows none within so many seconds. `admit` gives it back."""
    sock.setblocking(False)
    _keep_alive(sock)
    try:
        async with asyncio.timeout(seconds):
            return await _ticket(sock)
    except (OSError, TimeoutError):
        return b""


def admit(sock: socket.socket, ticket: bytes) -> None:
    """At the accepting end: the ticket is known. Raises OSError where the other end has hung up."""
    sock.send(ticket)


async def _ticket(sock: socket.socket) -> bytes:
    """Empty: the other end has hung up."""
    ticket = b""
    while len(ticket) < TICKET_BYTES:
        more = await asyncio.get_running_loop().sock_recv(sock, TICKET_BYTES - len(ticket))
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
