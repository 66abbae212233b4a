"""Whose calls a request's are: its own token goes on to the control plane, which checks it. There is no rule here."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from snakepit import Client
from snakepit.client.client import Pools
from snakepit.errors import Unauthenticated


class Callers:
    """The pools behind the client, for each of those who ask."""

    def __init__(self, client: Client) -> None:
        self._client = client

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
        """By a bearer token; empty: there is none. Raises SnakepitError."""
        if token:
            raise Unauthenticated("this gateway can't pass a token on yet: call without one")
        return self._client
