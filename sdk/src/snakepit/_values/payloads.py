"""Values as payloads, and back. Pure: no I/O, and numpy is not imported unless an array arrives.

docs/payloads.md has the table of what travels how. In short, in JSON, the default: JSON's own types as themselves, bytes and whatever
else has a buffer as attachments beside it, NaN and the infinities as `{"$float": …}`, the rest as msgspec writes it; and what can't be
carried as `{"$unserializable": "module.Type"}` with a warning in the payload, never its repr and never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import strings
from snakepit._values.buffers import ARROW, NDARRAY, OCTETS, restored
from snakepit._values.serializer import (
    ATTACHMENT,
    FLOAT,
    INLINE_ARRAY,
    INLINE_INTEGER,
    PLAIN,
    UNSERIALIZABLE,
    InlineSerializer,
    Serializer,
    complaints,
    finite,
    fitting,
    is_flat,
    kinds_of,
    marker,
    may_be_non_finite,
)
from snakepit.errors import InvalidArguments

__all__ = ["ATTACHMENT", "FLOAT", "INLINE_INTEGER", "JSON", "MSGPACK", "NDARRAY", "OCTETS", "PICKLE", "UNSERIALIZABLE", "encode", "marker"]

JSON = "application/json"
MSGPACK = "application/msgpack"
PICKLE = "application/x-python-pickle"

CONTENT_TYPES = {"json": JSON, "msgpack": MSGPACK, "pickle": PICKLE}
"""By the words of a pool's `call.payloads`."""

FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MARKED_FLOAT, _MARK = b'"$float"', b"$"

LONG_BYTES = 4096
"""In longer JSON, to look for four bytes takes longer than to look at what it was made of: 0.4 ms a MiB, of 0.2 for all of its encoding."""

PLAIN_JSON = frozenset({"", JSON})

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


def has_marked_floats(data: bytes) -> bool:
    """JSON that has none, and no attachments, is nothing but JSON. One byte is looked for thirty times as fast as eight."""
    return _MARK in data and _MARKED_FLOAT in data


def encode(value: Any, content_type: str = JSON) -> Payload:
    """Any value. Never raises: see the module's text for what becomes of what.

    JSON comes with attachments, msgpack without. A value that can't be pickled goes as JSON.
    """
    try:
        return _attempt(value, content_type)
    except Exception:  # not swallowed: the caller sees the marker in place of the value (a cycle, or lone surrogates)
        return _given_up(value)


def encode_arguments(arguments: Any, content_type: str = JSON) -> Payload:
    """As `encode`, but without a marker in place of all of them. Raises InvalidArguments."""
    if type(arguments) is not dict and not isinstance(arguments, Mapping):
        raise InvalidArguments(f"arguments must be a mapping of the tool's argument names to values, not {type(arguments).__name__}")
    try:
        return _attempt(dict(arguments) if content_type == PICKLE else arguments, content_type)
    except Exception:  # not swallowed: one of them makes it again
        for name, value in arguments.items():
            _check_argument(name, value, content_type)
        raise


def _check_argument(name: Any, value: Any, content_type: str) -> None:
    try:
        _attempt({name: value}, content_type)
    except UnicodeEncodeError as error:
        raise strings.refusal(f"argument {name!r}", error) from None
    except Exception as error:
        raise InvalidArguments(f"argument {name!r} holds itself, or is nested too deeply: {error}") from None


def _attempt(value: Any, content_type: str) -> Payload:
    if content_type == MSGPACK:
        return _encode_msgpack(value)
    if content_type == PICKLE:
        return _encode_pickle(value)
    kind = type(value)
    if kind in PLAIN or (kind is dict and is_flat(value)):
        data = _json.encode(value)
        if (len(data) > LONG_BYTES and float not in kinds_of(value)) or b"null" not in data:
            return Payload(data)
        return _encode_with_null(value, data)
    return _encode_json(value)


def _encode_with_null(value: Any, data: bytes) -> Payload:
    """null is how msgspec writes None, and also NaN and the infinities, which must not get lost."""
    return Payload(_json.encode(finite(value))) if value is not None and may_be_non_finite(value) else Payload(data)


def _encode_json(value: Any) -> Payload:
    serializer = Serializer()
    plain = serializer.plain(value)
    data = _json.encode(plain)
    if b"null" in data and may_be_non_finite(plain):
        data = _json.encode(finite(plain))
    return Payload(data, JSON, tuple(serializer.attachments), complaints(plain, serializer.remedies) if serializer.marked else ())


def _encode_msgpack(value: Any) -> Payload:
    serializer = InlineSerializer()
    plain = serializer.plain(value)
    warnings = complaints(plain, serializer.remedies) if serializer.marked else ()
    try:
        return Payload(_msgpack.encode(plain), MSGPACK, (), warnings)
    except OverflowError:
        return Payload(_msgpack.encode(fitting(plain)), MSGPACK, (), warnings)


def _encode_pickle(value: Any) -> Payload:
    import pickle

    try:
        return Payload(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), PICKLE)
    except Exception:  # not swallowed: JSON's markers and warnings say what can't be carried
        return _attempt(value, JSON)


def _given_up(value: Any) -> Payload:
    stand_in = marker(value)
    return Payload(_json.encode(stand_in), JSON, (), complaints(stand_in, {}))


def encode_inline(value: Any) -> Payload:
    """Without attachments, for state: JSON, or what needs attachments as msgpack."""
    encoded = encode(value)
    return encode(value, MSGPACK) if encoded.attachments else encoded


def decode(payload: Payload, *, trusted: bool = False, tables: bool = True, attached: bool = False) -> Any:
    """The value. `trusted`: pickle is read too, which runs code of the sender's choice. `tables`: else those stay Attachments;
    `attached`: all of them stay Attachments.

    Raises InvalidArguments for bytes that are not what they say.
    """
    try:
        return _decode_pickle(payload.data) if trusted and payload.content_type == PICKLE else _decode(payload, tables, attached)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise InvalidArguments(
            f"the payload is not {payload.content_type or JSON}: {strings.why_unreadable(payload.data, error)}"
        ) from error
    except RecursionError as error:
        raise InvalidArguments("the payload is nested too deeply") from error


def _decode(payload: Payload, tables: bool, attached: bool) -> Any:
    if payload.content_type == MSGPACK:
        return _restore(msgspec.msgpack.decode(payload.data), _restored(payload, tables), tables)
    if payload.content_type not in PLAIN_JSON:
        also = ", and pickle only where both ends agreed to it" if payload.content_type == PICKLE else ""
        raise ValueError(f"this end reads application/json and application/msgpack{also}")
    value = msgspec.json.decode(payload.data)
    if not payload.attachments and not has_marked_floats(payload.data):
        return value
    return _substitute(value, list(payload.attachments) if attached else _restored(payload, tables))


def _restored(payload: Payload, tables: bool) -> list[Any]:
    return [_made(each, tables) for each in payload.attachments]


def _made(attachment: Attachment, tables: bool) -> Any:
    return restored(attachment) if tables or attachment.content_type != ARROW else attachment


def _decode_pickle(data: bytes) -> Any:
    import pickle

    try:
        return pickle.loads(data)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def size(payload: Any) -> int:
    """Bytes, attachments included, of a frame or a message: what the limit on payloads counts."""
    return len(payload.data) + (sum(len(each.data) for each in payload.attachments) if payload.attachments else 0)


def _substitute(value: Any, attachments: list[Any]) -> Any:
    if isinstance(value, list):
        return [_substitute(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        if attachments and ATTACHMENT in value:
            return _numbered(value[ATTACHMENT], attachments)
        if FLOAT in value:
            return FLOATS.get(value[FLOAT], value) if isinstance(value[FLOAT], str) else value
    return {key: _substitute(each, attachments) for key, each in value.items()}


def _numbered(number: Any, attachments: list[Any]) -> Any:
    if not isinstance(number, int) or not 0 <= number < len(attachments):
        raise ValueError(f"it refers to attachment {number!r}, and there are {len(attachments)}")
    return attachments[number]


def _restore(value: Any, attachments: list[Any], tables: bool) -> Any:
    """What msgpack carried in a form of ours."""
    if isinstance(value, list):
        return [_restore(each, attachments, tables) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        if INLINE_INTEGER in value:
            return int(value[INLINE_INTEGER])
        if INLINE_ARRAY in value:
            dtype, shape, data = value[INLINE_ARRAY]
            return restored(Attachment(NDARRAY, data, dtype, tuple(shape)))
        if isinstance(inline := value.get(ATTACHMENT), list):
            content_type, dtype, shape, data = inline
            return _made(Attachment(content_type, data, dtype, tuple(shape)), tables)
        if attachments and ATTACHMENT in value:
            return _numbered(value[ATTACHMENT], attachments)
    return {key: _restore(each, attachments, tables) for key, each in value.items()}
