"""Values as payloads, and back. Pure: no I/O, and numpy is not imported unless an array arrives.

What travels how (JSON, the default):

* JSON's own types as themselves; integers of any size; `NaN` and the infinities become null (inside an array they stay);
* `bytes`, `bytearray`, `memoryview`: an attachment beside the JSON, `{"$attachment": 0}` in it; they come back as `bytes`;
* numpy arrays: an attachment with dtype and shape; numpy scalars as Python numbers;
* datetimes, dates, times, UUIDs, decimals, enums, sets, dataclasses, msgspec and attrs classes as msgspec writes them: ISO strings,
  arrays, objects;
* pydantic models as their `model_dump(mode="json")`;
* anything else: `{"$unserializable": "module.Type"}`, never its repr and never an exception.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from snakepit.errors import InvalidArguments
from snakepit.local.frames import Attachment, Payload

JSON = "application/json"
MSGPACK = "application/msgpack"
PICKLE = "application/x-python-pickle"
OCTETS = "application/octet-stream"
NDARRAY = "application/x-ndarray"

ATTACHMENT = "$attachment"
INLINE_ARRAY = "$ndarray"
INLINE_INTEGER = "$integer"
UNSERIALIZABLE = "$unserializable"

_PLAIN = frozenset({str, int, float, bool, type(None)})
_BYTES = (bytes, bytearray, memoryview)

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


def encode(value: Any) -> Payload:
    """Any value as JSON with attachments. Never raises: see the module's text for what becomes of what."""
    attachments: list[Attachment] = []
    try:
        return Payload(_json.encode(_Writer(attachments).plain(value)), JSON, tuple(attachments))
    except Exception:  # not swallowed: the caller sees the marker in place of the value (a cycle, or lone surrogates)
        return Payload(_json.encode(marker(value)))


def encode_inline(value: Any) -> Payload:
    """As `encode`, but without attachments, for state: what needs one makes it msgpack with the bytes inside."""
    encoded = encode(value)
    if not encoded.attachments:
        return encoded
    inline = [_inline(each) for each in encoded.attachments]
    return Payload(_msgpack.encode(_fit(_substitute(msgspec.json.decode(encoded.data), inline))), MSGPACK)


def decode(payload: Payload) -> Any:
    """The value. Raises InvalidArguments for bytes that are not what they say."""
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise InvalidArguments(f"the payload is not {payload.content_type}: {error}") from error


def _decode(payload: Payload) -> Any:
    if payload.content_type == MSGPACK:
        return _restore(msgspec.msgpack.decode(payload.data), payload.attachments)
    if payload.content_type not in ("", JSON):
        raise ValueError("this end reads application/json and application/msgpack")
    value = msgspec.json.decode(payload.data)
    return _substitute(value, [_attached(each) for each in payload.attachments]) if payload.attachments else value


def size(payload: Payload) -> int:
    """Bytes, attachments included."""
    return len(payload.data) + sum(len(each.data) for each in payload.attachments)


def marker(value: Any) -> dict[str, str]:
    """What stands for a value that can't travel: its type's name."""
    kind = type(value)
    return {UNSERIALIZABLE: f"{kind.__module__}.{kind.__qualname__}"}


class _Writer:
    """One value on its way out; collects its attachments."""

    def __init__(self, attachments: list[Attachment]) -> None:
        self._attachments = attachments

    def plain(self, value: Any) -> Any:
        """`value` with everything replaced that JSON doesn't have."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is list or kind is tuple:
            return value if _PLAIN.issuperset(map(type, value)) else [self.plain(each) for each in value]
        if kind is dict:
            return value if self._plain_items(value) else {self._key(key): self.plain(each) for key, each in value.items()}
        if kind in _BYTES:
            return self._attach(Attachment(OCTETS, bytes(value)))
        return self._other(value)

    @staticmethod
    def _plain_items(value: dict[Any, Any]) -> bool:
        return _PLAIN.issuperset(map(type, value.values())) and {str}.issuperset(map(type, value))

    @staticmethod
    def _key(key: Any) -> Any:
        if isinstance(key, str):
            return str(key)
        try:
            (name,) = msgspec.to_builtins({key: None}, str_keys=True)
        except Exception:  # not swallowed: the marker says what it was
            return f"{UNSERIALIZABLE}:{marker(key)[UNSERIALIZABLE]}"
        return name

    def _other(self, value: Any) -> Any:
        start = len(self._attachments)
        try:
            converted = msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=self._hook)
            return self.plain(converted)
        except Exception:  # not swallowed: the marker says what it was
            del self._attachments[start:]
            return marker(value)

    def _hook(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return value.item()
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(value)
        dump = getattr(type(value), "model_dump", None)
        return dump(value, mode="json") if callable(dump) else marker(value)

    def _array(self, array: Any) -> Any:
        if array.dtype.hasobject or array.dtype.names is not None:
            return array.tolist()
        return self._attach(Attachment(NDARRAY, array.tobytes(), array.dtype.str, tuple(array.shape)))

    def _attach(self, attachment: Attachment) -> dict[str, int]:
        self._attachments.append(attachment)
        return {ATTACHMENT: len(self._attachments) - 1}


def _attached(attachment: Attachment) -> Any:
    if attachment.content_type != NDARRAY:
        return attachment.data
    return _ndarray(attachment.data, attachment.dtype, attachment.shape)


def _ndarray(data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    try:
        import numpy
    except ImportError:
        return Attachment(NDARRAY, data, dtype, shape)
    return numpy.frombuffer(data, dtype=numpy.dtype(dtype)).reshape(shape)


def _inline(attachment: Attachment) -> Any:
    if attachment.content_type != NDARRAY:
        return attachment.data
    return {INLINE_ARRAY: [attachment.dtype, list(attachment.shape), attachment.data]}


def _fit(value: Any) -> Any:
    """Integers that msgpack doesn't have, as text."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return {INLINE_INTEGER: str(value)}
    if isinstance(value, list):
        return [_fit(each) for each in value]
    return {key: _fit(each) for key, each in value.items()} if isinstance(value, dict) else value


def _substitute(value: Any, attachments: list[Any]) -> Any:
    if isinstance(value, list):
        return [_substitute(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and ATTACHMENT in value:
        return _numbered(value[ATTACHMENT], attachments)
    return {key: _substitute(each, attachments) for key, each in value.items()}


def _numbered(number: Any, attachments: list[Any]) -> Any:
    if not isinstance(number, int) or not 0 <= number < len(attachments):
        raise ValueError(f"it refers to attachment {number!r}, and there are {len(attachments)}")
    return attachments[number]


def _restore(value: Any, attachments: tuple[Attachment, ...]) -> Any:
    if attachments:
        value = _substitute(value, [_attached(each) for each in attachments])
    return _restore_inline(value)


def _restore_inline(value: Any) -> Any:
    if isinstance(value, list):
        return [_restore_inline(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and INLINE_INTEGER in value:
        return int(value[INLINE_INTEGER])
    if len(value) == 1 and INLINE_ARRAY in value:
        dtype, shape, data = value[INLINE_ARRAY]
        return _ndarray(data, dtype, tuple(shape))
    return {key: _restore_inline(each) for key, each in value.items()}
