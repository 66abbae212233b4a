"""`snakepit session get | delete | rebind | state`: one session."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from snakepit.cli.options import Output, OutputOption, PoolArgument, ServerOption, with_client
from snakepit.cli.output import show
from snakepit.client import Client
from snakepit.errors import SessionNotFound

app = typer.Typer(no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The session's id.")]


@app.command()
def get(pool: PoolArgument, id: IdArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """Where the session is bound, and how long it lives."""
    show(with_client(server, lambda client: client.pool(pool).session(id).info()), output)


@app.command()
def delete(pool: PoolArgument, id: IdArgument, server: ServerOption = None) -> None:
    """End the session, with its state."""
    if not with_client(server, lambda client: client.pool(pool).session(id).delete()):
        raise SessionNotFound(f"pool {pool} has no session {id!r}")


@app.command()
def rebind(pool: PoolArgument, id: IdArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """Let go of the session's worker; the next call binds anew."""
    show(with_client(server, lambda client: client.pool(pool).session(id).rebind()), output)


@app.command()
def state(pool: PoolArgument, id: IdArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """The session's keys and values."""

    async def read(client: Client) -> dict[str, Any]:
        keys = client.pool(pool).session(id).state
        return {key: await keys.get(key) for key in await keys.keys()}

    show(with_client(server, read), output)
