"""An address on this machine for clients that know neither tokens nor our authority: what they ask goes on over TLS, with a token.

Usage: bearer.py ADDRESS PORT NAME CA_FILE. The name is that of the certificate. The token comes on stdin, and the port that it listens at
goes to stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

PIECE = 1 << 16
END_SECONDS = 10


@contextlib.contextmanager
def bearing(token: str, address: str, port: int, name: str, authority: Path) -> Iterator[str]:
    """The program's URL, as long as it runs."""
    command = [sys.executable, __file__, address, str(port), name, str(authority)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            running.stdin.write(token)
            running.stdin.close()
            yield f"http://127.0.0.1:{int(running.stdout.readline())}"
        finally:
            running.terminate()
            running.wait(END_SECONDS)


async def serve(token: str, address: str, port: int, name: str, trust: ssl.SSLContext) -> None:
    """Until it is ended. Each connection has one of its own to the other side."""
    dial = partial(asyncio.open_connection, address, port, ssl=trust, server_hostname=name)
    line = f"Authorization: Bearer {token}\r\n".encode()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Either side may hang up at any moment: then the other is told."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            there, back = await dial()
            with contextlib.closing(back):
                answering = asyncio.create_task(copied(there, writer))
                try:
                    await asked(reader, back, line)
                finally:
                    answering.cancel()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> None:
    """One request after the other, each with that header. Raises IncompleteReadError after the last."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, others = head.split(b"\r\n", 1)
        writer.write(first + b"\r\n" + line + others)
        left = length(others)
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                return
            left -= len(piece)
            writer.write(piece)
            await writer.drain()


def length(headers: bytes) -> int:
    """Of the body: nobody here sends it in chunks."""
    found = dict(each.lower().split(b":", 1) for each in headers.strip().split(b"\r\n"))
    assert b"transfer-encoding" not in found, headers
    return int(found.get(b"content-length", b"0"))


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError), contextlib.closing(writer):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


if __name__ == "__main__":
    _, where, number, known_as, ca = sys.argv
    asyncio.run(serve(sys.stdin.read().strip(), where, int(number), known_as, ssl.create_default_context(cafile=ca)))
