"""Options that every command takes, and how a command runs against a client."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from snakepit.client import Client

R = TypeVar("R")


class Output(enum.StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    yaml = "yaml"


ServerOption = Annotated[str | None, typer.Option("--server", envvar="SNAKEPIT_SERVER", help="host:port of the control plane.")]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
PoolArgument = Annotated[str, typer.Argument(metavar="POOL", help="namespace/name; a bare name is in `default`.")]


def with_client(server: str | None, work: Callable[[Client], Awaitable[R]]) -> R:
    """Run `work` with an open client, and close it."""

    async def run() -> R:
        async with Client(server) as client:
            return await work(client)

    return asyncio.run(run())
