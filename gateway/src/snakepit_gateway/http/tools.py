"""`POST …/tools/{tool}`: one call of a tool, as plain ASGI, because every call goes through here."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from snakepit._ipc.frames import Payload
from snakepit.client.pool import Pool
from snakepit.client.session import Session
from snakepit.client.views import ToolInfo
from snakepit.errors import PoolNotReady, SnakepitError
from snakepit_gateway.attended import HungUp, attended
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http.answers import answer, send_whole
from snakepit_gateway.http.bodies import encoded_arguments
from snakepit_gateway.http.served import SSE
from snakepit_gateway.http.streams import Events, Said, of_call, of_either, of_stream, send_events
from snakepit_gateway.http.wishes import Wishes, wishes
from snakepit_gateway.problems import problem

log = logging.getLogger(__name__)

CALL_ID = b"snakepit-call-id"
WORKER = b"snakepit-worker"
KEPT_SECONDS = 10.0
"""What is known of a tool that was called is asked for again after so long."""
MOST_KEPT = 10_000


class Tools:
    """`describe` answers GET."""

    def __init__(self, gateway: Gateway, describe: Callable[[Request], Awaitable[Response]]) -> None:
        self._callers, self._telemetry = gateway.callers, gateway.telemetry
        self._describe = describe
        self._catalogue = Catalogue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await (await self._describe(Request(scope, receive)))(scope, receive, send)
            return
        headers = dict(scope["headers"])
        wished = wishes(headers)
        called = wished.relay.call_id
        try:
            names = scope["path_params"]
            tool = names["tool"]
            pool = (await self._callers.of_authorization(wished.authorization)).pool(f"{names['namespace']}/{names['pool']}")
            target = pool.session(wished.session, affinity=wished.affinity) if wished.session else pool
            arguments = await encoded_arguments(scope, receive, headers, partial(self._schema, pool, tool))
            said = Said()
            if wished.stream and (events := await self._events(pool, target, tool, arguments, wished, said)) is not None:
                with self._telemetry.streaming("sse" if wished.stream == SSE else "ndjson"):
                    await attended(send_events(send, events, said, wished.stream, [(CALL_ID, called.encode())]), receive)
                return
            payload, worker = await attended(target.relay(tool, arguments, wished.relay), receive)
            given, body = answer(payload)
            await send_whole(send, 200, [*given, (CALL_ID, called.encode()), (WORKER, worker.encode())], body)
        except HungUp:
            log.debug("call %s: its caller hung up", called, extra={"call": called})
        except SnakepitError as error:
            token = b"authorization" in headers
            await problem(error, token=token, also={"Snakepit-Call-Id": called})(scope, receive, send)

    async def _schema(self, pool: Pool, tool: str) -> Mapping[str, Any]:
        try:
            return (await self._catalogue.tool(pool, tool)).input_schema
        except PoolNotReady:  # As below. What a part is, it then says itself as well as it can.
            return {}

    async def _events(self, pool: Pool, target: Pool | Session, tool: str, arguments: Payload, wished: Wishes, said: Said) -> Events | None:
        """None: its result is as good as a whole."""
        try:
            streams = await self._streams(pool, tool)
        except PoolNotReady:  # Nobody has called it yet, perhaps: then a refusal would be for ever, and the call itself waits for a worker.
            if not wished.relay.idempotency_key:
                return of_either(target.relay_stream(tool, arguments, wished.relay, said.tell), partial(self._streams, pool, tool))
            streams = False  # No stream may have a key.
        if streams:
            return of_stream(target.relay_stream(tool, arguments, wished.relay, said.tell))
        return None if wished.whole else of_call(target.relay(tool, arguments, wished.relay, said.tell))

    async def _streams(self, pool: Pool, tool: str) -> bool:
        return (await self._catalogue.tool(pool, tool)).streaming


class Catalogue:
    """Of all pools. The tool itself is called by its worker's own description, whatever is known here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[ToolInfo, float]] = {}

    async def tool(self, pool: Pool, name: str) -> ToolInfo:
        """Raises SnakepitError."""
        which, now = (pool.name, name), time.monotonic()
        found = self._kept.get(which)
        if found is not None and found[1] > now:
            return found[0]
        tool = await pool.tool(name)
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[which] = tool, now + KEPT_SECONDS
        return tool
