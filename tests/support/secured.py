"""Both ends of a lane's connection that speaks TLS."""

from __future__ import annotations

import asyncio
import fcntl
import random
import socket
import ssl
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from snakepit._wire.connect import accept, admit, dial
from snakepit._wire.secured import Secured

from .authority import Authority

TICKET = b"0123456789abcdef"


@asynccontextmanager
async def ends(authority: Authority, at_once: bytes = b"") -> AsyncIterator[list[Secured]]:
    """Both ends of a connection that has shown its ticket: who dialled, and who was dialled, and says something at once."""
    files = authority.files()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]

        async def accepted() -> Secured:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            ticket, connection = await accept(sock, 10, context)
            assert ticket == TICKET
            assert isinstance(connection, Secured)
            admit(connection, ticket)
            connection.send(at_once)
            return connection

        accepting = asyncio.create_task(accepted())
        dialled = await dial("127.0.0.1", port, TICKET, 10, (trusting, "localhost"))
        assert isinstance(dialled, Secured)
        made = [dialled, await accepting]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def unread(sock: socket.socket) -> int:
    """Bytes that have come there and that nobody has read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)
