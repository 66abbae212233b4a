"""Whose calls a request's are: its own token goes on to the control plane, which checks it. There is no rule here."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import HTTPConnection

from snakepit import Client
from snakepit.client.client import Pools
from snakepit.client.views import CallerInfo
from snakepit.errors import Unauthenticated

OPEN_SECONDS = 30.0
"""So long it is believed that the control plane asks nobody who they are."""


class Callers:
    """The pools behind the client, for each of those who ask."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open_until = 0.0
        self._asking: asyncio.Task[CallerInfo] | None = None

    async def of(self, request: HTTPConnection) -> Pools:
        """By the header Authorization. Raises SnakepitError."""
        return await self.of_authorization(request.headers.get("authorization", ""))

    async def of_authorization(self, value: str) -> Pools:
        """By what that header says; empty: there is none. Raises SnakepitError."""
        scheme, _, token = value.partition(" ")
        if value and scheme.lower() != "bearer":
            raise Unauthenticated("the header Authorization is not of the form 'Bearer TOKEN'")
        return await self.of_token(token.strip())

    async def of_token(self, token: str) -> Pools:
        """By a bearer token; empty: there is none, and where callers are asked who they are that won't do. Raises SnakepitError."""
        if token:
            return self._client.as_caller(token=token)
        if time.monotonic() >= self._open_until:
            await self._ask()
        return self._client

    async def _ask(self) -> None:
        """Once for all who wait, and what comes of it is all of theirs. The gateway's own identity is nobody else's."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._client.whoami(), name="is anybody asked who they are?")
            self._asking.add_done_callback(self._told)
        try:
            subject = (await asyncio.shield(self._asking)).subject
        except Unauthenticated:
            subject = "somebody"
        if subject:
            raise Unauthenticated("this needs a token: send the header 'Authorization: Bearer TOKEN'")
        self._open_until = time.monotonic() + OPEN_SECONDS

    def _told(self, asked: asyncio.Task[CallerInfo]) -> None:
        self._asking = None
        if not asked.cancelled():
            asked.exception()  # Whoever asked may have hung up.
