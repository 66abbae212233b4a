"""Results as JSON, and JSON as arguments: what JSON doesn't have is an object with one of our keys (docs/payloads.md). Pure.

Results are those of `client.pool(name, attachments=True)`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from snakepit import Attachment
from snakepit._values.buffers import NDARRAY, OCTETS
from snakepit._values.payloads import FLOATS
from snakepit._values.serializer import FLOAT, finite
from snakepit.errors import InvalidArguments

BASE64 = "$base64"
_ALIKE = frozenset({BASE64, "contentType", "dtype", "shape"})


def jsonable(value: Any, attached: Callable[[Attachment], Any] | None = None) -> Any:
    """The value with nothing in it but what JSON has. `attached` says what stands for an attachment, if not `{"$base64": …}`."""
    kind = type(value)
    if kind is float:
        return finite(value)
    if kind is dict:
        return {key: jsonable(each, attached) for key, each in value.items()}
    if kind is list:
        return [jsonable(each, attached) for each in value]
    return (attached or in_base64)(value) if kind is Attachment else value


def in_base64(attachment: Attachment) -> dict[str, Any]:
    """Its bytes, with the media type or the array's type and shape, where it has them."""
    kind = {"dtype": attachment.dtype, "shape": list(attachment.shape)} if attachment.dtype else {}
    media = {} if attachment.content_type in ("", OCTETS, NDARRAY) else {"contentType": attachment.content_type}
    return {BASE64: base64.b64encode(attachment.data).decode(), **media, **kind}


def arguments(read: Any) -> Any:
    """Back: of JSON that was read, with bytes, arrays, files and odd floats in the places of our objects. Raises InvalidArguments."""
    if isinstance(read, list):
        return [arguments(each) for each in read]
    if not isinstance(read, dict):
        return read
    if read.keys() == {FLOAT} and isinstance(read[FLOAT], str) and read[FLOAT] in FLOATS:
        return FLOATS[read[FLOAT]]
    if BASE64 in read and read.keys() <= _ALIKE:
        return _attachment(read)
    return {key: arguments(each) for key, each in read.items()}


def _attachment(read: Mapping[str, Any]) -> Any:
    shape = read.get("shape", [])
    if not isinstance(shape, list) or not all(type(each) is int and each >= 0 for each in shape):
        raise InvalidArguments("shape must be a list of whole numbers")
    try:
        data = base64.b64decode(read[BASE64], validate=True)
    except (TypeError, ValueError) as error:
        raise InvalidArguments(f"{BASE64} must be base64 text: {error}") from error
    dtype, media = str(read.get("dtype", "")), read.get("contentType")
    return Attachment(str(media or NDARRAY), data, dtype, tuple(shape)) if dtype or media else data
