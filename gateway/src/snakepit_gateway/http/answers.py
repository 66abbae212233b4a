"""Encoded results as answers: JSON as it came, bytes and files as they are. Pure, but for sending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from starlette.types import Send

from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import payloads
from snakepit.errors import InvalidArguments, SnakepitError, Started
from snakepit_gateway.values import jsonable

PIECE_BYTES = 256 * 1024
_ROOT = b'{"$attachment":0}'
_SHOWN = ("image/", "audio/", "video/", "application/octet-stream")
_INERT = [(b"content-security-policy", b"default-src 'none'; sandbox")]
_JSON_TYPE = (b"content-type", b"application/json")

RawHeaders = list[tuple[bytes, bytes]]


def as_json(payload: Payload) -> bytes:
    """In the JSON form of docs/payloads.md. Raises SnakepitError for what is none."""
    if not payload.attachments and payload.content_type in payloads.PLAIN_JSON:
        return payload.data or b"null"
    try:
        return msgspec.json.encode(jsonable(payloads.decode(payload, attached=True)))
    except InvalidArguments as error:
        raise SnakepitError(error.message, started=Started.YES) from error


def answer(payload: Payload) -> tuple[RawHeaders, bytes | memoryview]:
    """Headers, and the body: of a result that is nothing but bytes or a file, those. Whatever the file says, it is no page of ours."""
    if payload.data == _ROOT and len(payload.attachments) == 1:
        attached = payload.attachments[0]
        if attached.content_type != payloads.NDARRAY:
            return _of_file(attached), attached.data
    return [_JSON_TYPE, *_warnings(payload.warnings)], as_json(payload)


def of_value(value: Any) -> tuple[RawHeaders, bytes]:
    """As `answer`, of a value that is decoded."""
    if isinstance(value, bytes):
        return [(b"content-type", payloads.OCTETS.encode()), *_INERT], value
    return [_JSON_TYPE], as_json(payloads.encode(value))


def _of_file(file: Attachment) -> RawHeaders:
    kind = file.content_type or payloads.OCTETS
    try:
        headers = [(b"content-type", kind.encode("ascii")), *_INERT]
    except UnicodeEncodeError:
        headers = [(b"content-type", payloads.OCTETS.encode()), *_INERT]
    return headers if kind.startswith(_SHOWN) else [*headers, (b"content-disposition", b"attachment")]


def _warnings(sentences: Iterable[str]) -> RawHeaders:
    return [(b"snakepit-warning", each.encode("ascii", "backslashreplace").replace(b"\n", b" ")) for each in sentences]


async def send_whole(send: Send, status: int, headers: RawHeaders, body: bytes | memoryview) -> None:
    """Large ones in pieces: no more of them is copied than the other end takes."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if len(body) <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": bytes(body)})
        return
    for piece, more in _pieces(body):
        await send({"type": "http.response.body", "body": piece, "more_body": more})


def _pieces(body: bytes | memoryview) -> Iterator[tuple[bytes, bool]]:
    view = memoryview(body)
    for at in range(0, len(view), PIECE_BYTES):
        yield bytes(view[at : at + PIECE_BYTES]), at + PIECE_BYTES < len(view)
