"""Pools, and what is known about their tools and workers, as `snakepit … -o json` says it; and who asks."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from snakepit.client.pool import Pool
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http import pages
from snakepit_gateway.http.openapi import document


async def asked(gateway: Gateway, request: Request) -> Pool:
    """The pool of the path, for whoever asks. Raises SnakepitError."""
    names = request.path_params
    return (await gateway.callers.of(request)).pool(f"{names['namespace']}/{names['pool']}")


class Pools:
    """Each method answers one path."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> Response:
        pools = await (await self._gateway.callers.of(request)).pools()
        return pages.page(request, pools, lambda each: each.name)

    async def pool(self, request: Request) -> Response:
        return pages.json(await (await asked(self._gateway, request)).info())

    async def tools(self, request: Request) -> Response:
        return pages.page(request, await (await asked(self._gateway, request)).tools(), lambda each: each.name)

    async def tool(self, request: Request) -> Response:
        return pages.json(await (await asked(self._gateway, request)).tool(request.path_params["tool"]))

    async def workers(self, request: Request) -> Response:
        return pages.page(request, await (await asked(self._gateway, request)).workers(), lambda each: each.id)

    async def openapi(self, request: Request) -> Response:
        """Of what the running workers take at this moment."""
        pool = await asked(self._gateway, request)
        return pages.json(document(pool.name, await pool.tools()))

    async def whoami(self, request: Request) -> Response:
        return pages.json(await (await self._gateway.callers.of(request)).whoami())
