"""Looks at the way to the control plane, each look within its time: names, ports, who answers there, and what a token says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from snakepit._wire.targets import parse_target, resolve
from snakepit._wire.token import default_file
from snakepit.cli.doctor.facts import CLOSED, GRPC, HTTP, OTHER, QUIET, REFUSED, SILENT, TLS, Address, Token, Way

RESOLVE_SECONDS = 5.0
DIAL_SECONDS = 2.0
ANSWER_SECONDS = 1.0

MOST_ADDRESSES = 32
"""That are dialled; a name may stand for more replicas."""

_QUESTION = b"GET / HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n"
_HTTP2_SETTINGS = 4
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


async def look_at_way(target: str) -> Way:
    """Look every name of the target up, and dial every address. Raises ValueError where it is no address."""
    names = [each.strip() for each in target.split(",")]
    hosts = [parse_target(each)[0] for each in names]
    found = await asyncio.gather(*map(_look_up, names))
    unknown = tuple(host for host, addresses in zip(hosts, found, strict=True) if not addresses)
    known = sorted((address, host) for addresses in found for address, host in addresses.items())[:MOST_ADDRESSES]
    addresses = await asyncio.gather(*(_dial(address, host) for address, host in known))
    return Way(target, tuple(addresses), unknown, "KUBERNETES_SERVICE_HOST" in os.environ)


async def look_who_answers(way: Way) -> Way:
    """The same way, with who answers at each address that is open."""

    async def look(each: Address) -> Address:
        return msgspec.structs.replace(each, speaks=await _speaks(each.address)) if each.is_open else each

    return msgspec.structs.replace(way, addresses=tuple(await asyncio.gather(*map(look, way.addresses))))


async def _look_up(name: str) -> Mapping[str, str]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await resolve(name)
    return {}


async def _dial(address: str, host: str) -> Address:
    ip, port = parse_target(address)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            _, writer = await asyncio.open_connection(ip, port)
    except ConnectionRefusedError:
        return Address(host, address, REFUSED)
    except TimeoutError:
        return Address(host, address, SILENT)
    except OSError as error:
        return Address(host, address, error.strerror or str(error))
    writer.close()
    return Address(host, address)


async def _speaks(address: str) -> str:
    ip, port = parse_target(address)
    writer = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(ip, port)
            writer.write(_QUESTION)
            await writer.drain()
            return _kind(await reader.read(16))
    except TimeoutError:
        return QUIET
    except OSError:
        return CLOSED
    finally:
        if writer is not None:
            writer.close()


def _kind(answer: bytes) -> str:
    if not answer:
        return CLOSED
    if answer.startswith(b"HTTP/"):
        return HTTP
    if answer.startswith(_TLS_RECORDS):
        return TLS
    return GRPC if len(answer) > 3 and answer[3] == _HTTP2_SETTINGS else OTHER


def read_token(file: str | None) -> Token:
    """What the caller would show: this file's, or the one that clients take by default."""
    file = file or default_file()
    if not file:
        return Token()
    try:
        return Token(file, claims=_claims(Path(file).read_text()))
    except (OSError, UnicodeDecodeError) as error:
        return Token(file, getattr(error, "strerror", None) or "it is no text")


def _claims(text: str) -> dict[str, Any]:
    """Of a JWT; empty: it is none. Nothing is checked."""
    parts = text.strip().split(".")
    if len(parts) != 3:
        return {}
    with contextlib.suppress(ValueError, msgspec.MsgspecError):
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=dict[str, Any])
    return {}
