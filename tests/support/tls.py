"""TLS before a server that has none: a certificate made on the spot, and a terminator in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Self-signed, so it is its own CA."""

    certificate: Path
    key: Path


def certificate(folder: Path, host: str = "127.0.0.1") -> Certificate:
    made = Certificate(folder / f"{host}.pem", folder / f"{host}.key")
    curve = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    names = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", *curve, *names, *files], check=True, capture_output=True)
    return made


@contextlib.asynccontextmanager
async def terminator(port: int, own: Certificate, *, asks: bool = False) -> AsyncIterator[int]:
    """A port on which TLS is spoken; what comes out of it goes to the plain `port`. `asks`: clients must show this certificate, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(own.certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, plain_writer), _copy(plain_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
