"""`snakepit session get | delete | rebind | state | export | import`: one session."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from snakepit.cli.output import Output, OutputOption, show
from snakepit.cli.reach import PoolArgument, Reach, reaching
from snakepit.client import Client, snapshot
from snakepit.errors import InvalidArguments, SessionNotFound

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The session's id.")]


@reaching
def get(reach: Reach, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """Where the session is bound, and how long it lives."""
    show(reach.run(lambda client: client.pool(reach.pool(pool)).session(id).info()), output)


@reaching
def delete(reach: Reach, pool: PoolArgument, id: IdArgument) -> None:
    """End the session, with its state."""
    if not reach.run(lambda client: client.pool(reach.pool(pool)).session(id).delete()):
        raise SessionNotFound(f"pool {reach.pool(pool)} has no session {id!r}")


@reaching
def rebind(reach: Reach, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """Let go of the session's worker; the next call binds anew."""
    show(reach.run(lambda client: client.pool(reach.pool(pool)).session(id).rebind()), output)


@reaching
def export(
    reach: Reach,
    pool: PoolArgument,
    id: IdArgument,
    file: Annotated[Path | None, typer.Option("-O", "--output-file", metavar="FILE", help="Where to write; else standard output.")] = None,
) -> None:
    """Write the session, with its metadata and state, as JSON."""
    data = snapshot.encode(reach.run(lambda client: client.pool(reach.pool(pool)).session(id).export()))
    if file is None:
        sys.stdout.write(data.decode())
    else:
        with _told(file):
            file.write_bytes(data)


@reaching
def import_(
    reach: Reach,
    pool: PoolArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Of the new session; else the exported one's.")] = None,
) -> None:
    """Make a session of an exported one, in any pool; prints its id."""
    with _told(file):
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    saved = snapshot.decode(data)
    new = id or saved.id
    reach.run(lambda client: client.pool(reach.pool(pool)).session(new).restore(saved))
    print(new)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArguments(f"{file}: {error.strerror}") from error


@reaching
def state(reach: Reach, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """The session's keys and values."""

    async def read(client: Client) -> dict[str, Any]:
        keys = client.pool(reach.pool(pool)).session(id).state
        return {key: await keys.get(key) for key in await keys.keys()}

    show(reach.run(read), output)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "get": get,
    "state": state,
    "rebind": rebind,
    "delete": delete,
    "export": export,
    "import": import_,
}
