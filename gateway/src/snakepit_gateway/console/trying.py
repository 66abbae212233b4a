"""A tool with its schema, and a form to try it: arguments as a person types them, chunks and progress as they come."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from snakepit import Attachment
from snakepit.cli.arguments import BYTES, kinds, of_file, of_json, of_text
from snakepit.client.calls import Calls
from snakepit.client.views import ToolInfo
from snakepit.errors import InvalidArguments, SnakepitError, Unauthenticated
from snakepit_gateway.console.desk import Context, Desk, check_origin, draw, pool_of, said
from snakepit_gateway.console.live import Part, event
from snakepit_gateway.console.pool import head
from snakepit_gateway.console.sessions import shown
from snakepit_gateway.console.viewer import CALL, Viewer
from snakepit_gateway.console.words import json, seconds

MOST_CHUNKS = 500
MOST_SHOWN_BYTES = 512 << 10
PROGRESS_SECONDS = 0.1
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_OTHERS = "others"
_END = object()


class Field(msgspec.Struct, frozen=True):
    """One argument in the form. `kind`: text, number, choice, file or json."""

    name: str
    kind: str
    type: str
    required: bool
    about: str
    default: str
    choices: tuple[str, ...] = ()


def fields(tool: ToolInfo) -> list[Field]:
    """What the form asks for, by the tool's schema. Pure."""
    schema = tool.input_schema
    properties: Mapping[str, Any] = schema.get("properties", {})
    found = [_field(name, own, schema) for name, own in properties.items() if isinstance(own, dict)]
    if schema.get("additionalProperties", not properties) is not False:
        found.append(Field(_OTHERS, "json", "object", False, "Any others, as one JSON object.", ""))
    return found


def _field(name: str, own: Mapping[str, Any], schema: Mapping[str, Any]) -> Field:
    allowed = kinds(own, schema)
    choices = tuple(each if isinstance(each, str) else json(each) for each in own.get("enum", ()))
    plain = set(allowed) - {"null"}
    if not choices and plain == {"boolean"}:
        choices = ("true", "false")
    kind = "choice" if choices else "file" if BYTES in plain else "number" if plain and plain <= {"integer", "number"} else "text"
    if kind == "text" and plain & {"array", "object"}:
        kind = "json"
    default = "" if own.get("default") is None else json(own["default"])
    about = str(own.get("description", ""))
    return Field(name, kind, " or ".join(allowed) or "anything", name in schema.get("required", ()), about, default, choices)


async def arguments(tool: ToolInfo, form: FormData) -> dict[str, Any]:
    """What was typed, as values. What was left empty, and needn't be there, is left to the tool. Raises InvalidArguments."""
    values: dict[str, Any] = {}
    properties = tool.input_schema.get("properties", {})
    for each in fields(tool):
        typed = form.get(f"arg.{each.name}")
        if isinstance(typed, UploadFile):
            if typed.filename or each.required:
                values[each.name] = of_file(each.name, await typed.read(), [BYTES], typed.filename or "")
        elif each.name == _OTHERS and _OTHERS not in properties:
            others = of_json(_OTHERS, (typed or "{}").encode())
            if not isinstance(others, dict):
                raise InvalidArguments('the other arguments are one JSON object, like {"a": 1}')
            values |= others
        elif typed or each.required:
            values[each.name] = of_text(each.name, typed or "", kinds(properties[each.name], tool.input_schema))
    return values


async def gather(viewer: Viewer, request: Request) -> Context:
    """What the page shows."""
    name, wanted = pool_of(request), said(request, "name")
    top, tool = await asyncio.gather(head(viewer, name), _tool(viewer, name, wanted))
    return {**top, "tool": tool, "fields": fields(tool), "may": CALL in top["rights"], "chunks": [], "verdict": ""}


async def _tool(viewer: Viewer, name: str, wanted: str) -> ToolInfo:
    found = next((each for each in await viewer.tools(name) if each.name == wanted), None)
    return found or await viewer.pool(name).tool(wanted)


class Trial:
    """The form is answered: with scripts, by a stream of events; without, by the whole page when the call has ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, request: Request) -> Response:
        check_origin(request)
        streamed = bool(request.headers.get("hx-request"))
        try:
            viewer = await self._desk.viewer(request)
            context = await gather(viewer, request)
            steps = self._steps(viewer, request, context["tool"], await request.form(max_files=20, max_fields=200, max_part_size=8 << 20))
        except SnakepitError as error:
            if streamed:
                return _stream(_only("verdict", draw("verdict", "failed", "before it was called", error)))
            return RedirectResponse("/sign-in", 303) if isinstance(error, Unauthenticated) else await self._desk.failed(request, error)
        if streamed:
            return _stream(steps)
        whole = [each async for each in steps]
        context["chunks"] = [html for id_, html in whole if id_ == "out"]
        context["verdict"] = next(html for id_, html in reversed(whole) if id_ == "verdict")
        return self._desk.html("tool.html", await self._desk.context(viewer, request, context))

    async def _steps(self, viewer: Viewer, request: Request, tool: ToolInfo, form: FormData) -> AsyncIterator[tuple[str, str]]:
        """What is to be shown, one after another: the id of an element, and its HTML, or what comes behind all that `out` has."""
        began = time.monotonic()
        yield "result", draw("result", [], "")
        yield "verdict", draw("verdict", "running", "")
        shown_bytes = chunks = 0
        try:
            pool: Calls = viewer.pools.pool(pool_of(request), attachments=True)
            if session := str(form.get("session") or "").strip():
                pool = viewer.pools.pool(pool_of(request), attachments=True).session(session)
            values = await arguments(tool, form)
            async with aclosing(_run(pool, tool, values, _timeout(str(form.get("timeout") or "")))) as coming:
                async for kind, value in coming:
                    if kind == "progress":
                        yield "progress", draw("progress", *value)
                        continue
                    html = draw("value", *_shown(value))
                    shown_bytes, chunks = shown_bytes + len(html), chunks + 1
                    yield "out", html
                    if chunks >= MOST_CHUNKS or shown_bytes >= MOST_SHOWN_BYTES:
                        yield "verdict", draw("verdict", "stopped", f"after {chunks} chunks: here is room for no more")
                        return
            yield "verdict", draw("verdict", "done", f"in {seconds(time.monotonic() - began)}")
        except SnakepitError as error:
            yield "verdict", draw("verdict", "failed", f"after {seconds(time.monotonic() - began)}", error)


def _timeout(text: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise InvalidArguments(f"time-out {text!r}: write seconds, like 2.5") from None


async def _run(pool: Calls, tool: ToolInfo, values: dict[str, Any], timeout: float | None) -> AsyncGenerator[tuple[str, Any]]:
    """Its progress and values, as they come."""
    latest: deque[tuple[float, str]] = deque(maxlen=1)

    def told(*said: Any) -> None:
        latest.append(said)

    if not tool.streaming:
        async with aclosing(_meanwhile(pool.call(tool.name, values, timeout=timeout, on_progress=told), latest)) as coming:
            async for each in coming:
                yield each
        return
    value = None
    async with pool.stream(tool.name, values, timeout=timeout, on_progress=told) as stream:
        while value is not _END:
            async with aclosing(_meanwhile(anext(stream, _END), latest)) as coming:
                async for kind, value in coming:
                    if value is not _END:
                        yield kind, value


async def _meanwhile(work: Awaitable[Any], latest: deque[tuple[float, str]]) -> AsyncGenerator[tuple[str, Any]]:
    """What was said last, now and then until the value is there, and the value."""
    working = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([working], timeout=PROGRESS_SECONDS))[0]:
            if latest:
                yield "progress", latest.pop()
        if latest:
            yield "progress", latest.pop()
        yield "value", await working
    finally:
        working.cancel()


def _shown(value: Any) -> tuple[str, str]:
    """A value as text; or, an image, as an address that has all of it."""
    if isinstance(value, Attachment):
        data = bytes(value.data)
        if value.content_type in _IMAGES and len(data) <= MOST_SHOWN_BYTES:
            return "", f"data:{value.content_type};base64,{base64.b64encode(data).decode()}"
        return f"{len(data)} bytes of {value.content_type}", ""
    return shown(value), ""


async def _only(id_: str, html: str) -> AsyncIterator[tuple[str, str]]:
    yield id_, html


def _stream(steps: AsyncIterator[tuple[str, str]]) -> Response:
    return StreamingResponse(_events(steps), headers={"cache-control": "no-store"}, media_type="text/event-stream")


async def _events(steps: AsyncIterator[tuple[str, str]]) -> AsyncIterator[bytes]:
    async for id_, html in steps:
        yield event([Part(id_, html)], "beforeend" if id_ == "out" else "outerMorph")
