"""`snakepit session get | delete | rebind | state | export | import`: one session."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from snakepit.cli.options import Output, OutputOption, PoolArgument, ServerOption, with_client
from snakepit.cli.output import show
from snakepit.client import Client, snapshot
from snakepit.errors import InvalidArguments, SessionNotFound

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
def export(
    pool: PoolArgument,
    id: IdArgument,
    file: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write; else standard output.")] = None,
    server: ServerOption = None,
) -> None:
    """Write the session, with its metadata and state, as JSON."""
    data = snapshot.encode(with_client(server, lambda client: client.pool(pool).session(id).export()))
    if file is None:
        sys.stdout.write(data.decode())
    else:
        with _told(file):
            file.write_bytes(data)


@app.command("import")
def import_(
    pool: PoolArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Of the new session; else the exported one's.")] = None,
    server: ServerOption = None,
) -> None:
    """Make a session of an exported one, in any pool; prints its id."""
    with _told(file):
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    saved = snapshot.decode(data)
    new = id or saved.id
    with_client(server, lambda client: client.pool(pool).session(new).restore(saved))
    print(new)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArguments(f"{file}: {error.strerror}") from error


@app.command()
def state(pool: PoolArgument, id: IdArgument, server: ServerOption = None, output: OutputOption = Output.table) -> None:
    """The session's keys and values."""

    async def read(client: Client) -> dict[str, Any]:
        keys = client.pool(pool).session(id).state
        return {key: await keys.get(key) for key in await keys.keys()}

    show(with_client(server, read), output)
