"""Bodies of requests as encoded arguments and values. JSON without objects of ours goes on as it came, without being decoded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope

from snakepit._ipc.frames import Payload
from snakepit._values import payloads
from snakepit._values.strings import why_unreadable
from snakepit.errors import InvalidArguments
from snakepit_gateway.attended import whole
from snakepit_gateway.http.served import JSON
from snakepit_gateway.problems import UnsupportedMediaType
from snakepit_gateway.values import arguments

FORM = "multipart/form-data"
MAX_PARTS = 1000
MAX_FIELD_BYTES = 4 << 20
T = TypeVar("T")
Schema = Callable[[], Awaitable[Mapping[str, Any]]]
_EMPTY = Payload(b"{}")
_OURS = b'"$'
_BRACE = ord("{")
_object, _raw = msgspec.json.Decoder(dict[str, Any]), msgspec.json.Decoder(msgspec.Raw)


class NewSession(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What a PUT may say. `ttl_seconds` None: the pool's own."""

    ttl_seconds: float | None = None
    metadata: dict[str, str] = {}
    group: str = ""


def media_type(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


async def encoded_arguments(scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], schema: Schema) -> Payload:
    """`schema` gives that of the arguments, for forms. Raises SnakepitError for a body that is no JSON object, and no form."""
    kind = media_type(headers)
    if kind == FORM:
        return payloads.encode_arguments(await _form(scope, receive, schema))
    body = await whole(receive)
    if kind not in ("", JSON) and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"arguments of {kind[:80]} are not read: send {JSON}, or {FORM} where some are bytes")
    return of_json(body)


def of_json(body: bytes) -> Payload:
    """Raises InvalidArguments."""
    if not body:
        return _EMPTY
    what = "the body is not a JSON object of arguments"
    if _OURS in body:
        return payloads.encode_arguments(_read(body, what, lambda data: arguments(_object.decode(data))))
    _read(body, what, _check)
    return Payload(body)


def _check(body: bytes) -> None:
    """Is it a JSON object? Whatever is in it, nothing is made of it: whose it is is not known yet."""
    if memoryview(_raw.decode(body))[0] != _BRACE:
        _object.decode(body)  # which says what it is


async def _form(scope: Scope, receive: Receive, schema: Schema) -> dict[str, Any]:
    """A part with a file's name is bytes, or JSON if it says so; others are text where the tool takes text, else JSON. What comes twice
    is a list."""
    properties = (await schema()).get("properties", {})
    try:
        form = await Request(scope, receive).form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise InvalidArguments(f"the form can't be read: {error.detail}") from None
    try:
        found: dict[str, list[Any]] = {}
        for name, part in form.multi_items():
            found.setdefault(name, []).append(await _part(name, part, properties.get(name)))
    finally:
        await form.close()
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


async def _part(name: str, part: UploadFile | str, schema: Any) -> Any:
    if isinstance(part, str):
        return part if _takes_text(schema) else _guessed(part)
    data = await part.read()
    return _read(data, f"part {name[:80]!r} is not JSON", _value) if part.content_type == JSON else data


def _takes_text(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") == "string" or any(map(_takes_text, schema.get("anyOf", ()))))


def _guessed(text: str) -> Any:
    try:
        return _read(text.encode(errors="surrogatepass"), "", _value)
    except InvalidArguments:
        return text


def value(kind: str, body: bytes) -> Any:
    """One value: JSON, or bytes of any other media type. Raises InvalidArguments."""
    return _read(body, "the body is not JSON", _value) if kind in ("", JSON) or kind.endswith("+json") else body


def _value(data: bytes) -> Any:
    return arguments(msgspec.json.decode(data))


def _read(data: bytes, what: str, read: Callable[[bytes], T]) -> T:
    """Raises InvalidArguments, which says `what`."""
    try:
        return read(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"{what}: {why_unreadable(data, error)}") from None
    except RecursionError:
        raise InvalidArguments(f"{what}: it is nested too deeply") from None
