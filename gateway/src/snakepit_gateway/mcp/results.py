"""What a tool returned, or why it didn't, as MCP says it. Pure."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)

from snakepit import Attachment, ToolInfo
from snakepit._values.buffers import NDARRAY, OCTETS
from snakepit.errors import InvalidArguments, SessionNotFound, SnakepitError, ToolError
from snakepit_gateway.mcp.catalogue import CONTENT, OPEN_SESSION, RESULT, is_wrapped
from snakepit_gateway.values import in_base64, jsonable

ERROR_META = "snakepit.dev/error"
WARNINGS_META = "snakepit.dev/warnings"
MOST_LISTED = 10_000
"""An array of more elements is base64: nobody reads so many numbers."""

_FORMATS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q", "f4": "f", "f8": "d"}
_TEXTS = ("application/json", "application/xml", "application/yaml", "image/svg+xml")


def of_value(value: Any, tool: ToolInfo | None, uri: str) -> CallToolResult:
    """`uri`: of the call; a file in it gets one of its own."""
    blocks: list[ContentBlock] = []

    def attached(attachment: Attachment) -> Any:
        if attachment.content_type == NDARRAY:
            return _numbers(attachment)
        if attachment.content_type in ("", OCTETS):
            return base64.b64encode(attachment.data).decode()
        blocks.append(_file(attachment, f"{uri}/{len(blocks)}"))
        return {CONTENT: len(blocks) - 1}

    if isinstance(value, Attachment) and value.content_type != NDARRAY:
        return CallToolResult(content=[_file(value, f"{uri}/0")])
    if isinstance(value, list) and any(_is_file(each) for each in value):
        return CallToolResult(content=[_block(each, f"{uri}/{number}") for number, each in enumerate(value)])
    plain = jsonable(value, attached)
    text = TextContent(text=plain if isinstance(plain, str) else msgspec.json.encode(plain).decode())
    return CallToolResult(content=[*blocks, text], structured_content=_object(plain, tool))


def of_stream(chunks: list[Any], tool: ToolInfo, uri: str) -> CallToolResult:
    """Pieces of text are one text; the rest is the list of them."""
    result = of_value(chunks, tool, uri)
    if chunks and all(isinstance(each, str) for each in chunks):
        result.content = [TextContent(text="".join(chunks))]
    return result


def warned(result: CallToolResult, sentences: Sequence[str]) -> CallToolResult:
    """With a sentence in `_meta` for each part that could not be carried: in its place a marker stands, which a model sees itself."""
    if sentences:
        result.meta = {**(result.meta or {}), WARNINGS_META: list(sentences)}
    return result


def of_error(error: SnakepitError) -> CallToolResult:
    """For a model: what went wrong, whether the tool may have run, and what to do. For a program: the same in `_meta`."""
    meta: dict[str, Any] = {"reason": error.reason, "started": str(error.started), "details": dict(error.details)}
    if error.retry_after is not None:
        meta["retryAfterSeconds"] = error.retry_after
    return CallToolResult(content=[TextContent(text=sentence(error))], is_error=True, _meta={ERROR_META: meta})


def failed(result: CallToolResult) -> tuple[str, str]:
    """Of `of_error`: the reason, and whether the tool may have run; empty: it is no failure."""
    meta = (result.meta or {}).get(ERROR_META)
    return (meta["reason"], meta["started"]) if meta else ("", "")


def sentence(error: SnakepitError) -> str:
    """One for a model."""
    if isinstance(error, ToolError):
        return str(error)
    if isinstance(error, InvalidArguments):
        return f"{error.message}. Nothing has run: call again with other arguments."
    advice = f" Call {OPEN_SESSION} for a new one." if isinstance(error, SessionNotFound) else ""
    if error.retry_after is not None:
        advice = f" Try again in {max(1, math.ceil(error.retry_after))} s."
    return f"{error.reason} (started: {error.started}): {error.message}.{advice}"


def size(value: Any) -> int:
    """About how many bytes it has as JSON."""
    return len(msgspec.json.encode(jsonable(value)))


def _object(plain: Any, tool: ToolInfo | None) -> Mapping[str, Any]:
    wrapped = tool is not None and not tool.streaming and is_wrapped(tool.output_schema) is True
    return plain if isinstance(plain, dict) and not wrapped else {RESULT: plain}


def _is_file(value: Any) -> bool:
    return isinstance(value, Attachment) and value.content_type not in ("", OCTETS, NDARRAY)


def _block(value: Any, uri: str) -> ContentBlock:
    if _is_file(value):
        return _file(value, uri)
    plain = jsonable(value)
    return TextContent(text=plain if isinstance(plain, str) else msgspec.json.encode(plain).decode())


def _file(attachment: Attachment, uri: str) -> ContentBlock:
    media = attachment.content_type or OCTETS
    kind = media.partition("/")[0]
    bare = media.partition(";")[0].strip().lower()
    if kind == "text" or bare in _TEXTS or bare.endswith(("+json", "+xml")):
        text = bytes(attachment.data).decode(errors="replace")
        return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=media, text=text))
    data = base64.b64encode(attachment.data).decode()
    if kind == "image":
        return ImageContent(data=data, mime_type=media)
    if kind == "audio":
        return AudioContent(data=data, mime_type=media)
    return EmbeddedResource(resource=BlobResourceContents(uri=uri, mime_type=media, blob=data))


def _numbers(array: Attachment) -> Any:
    """Lists of numbers, as a model reads them; of an element type that Python has not, or very many, base64."""
    order, kind = array.dtype[:1], array.dtype[1:]
    count = math.prod(array.shape)
    if order not in "<|" or kind not in _FORMATS or not 0 < count <= MOST_LISTED:
        return in_base64(array)
    return jsonable(memoryview(array.data).cast("B").cast(_FORMATS[kind], array.shape).tolist())  # type: ignore[call-overload]
