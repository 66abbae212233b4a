"""`snakepit session get | delete | rebind | state | export | import`: one session."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from snakepit.cli.arguments import read_file
from snakepit.cli.output import Output, OutputOption, Sink, show
from snakepit.cli.target import PoolArgument, Target, with_target
from snakepit.client import Pool, snapshot
from snakepit.errors import InvalidArguments, SessionNotFound

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The session's id.")]


@with_target
def get(target: Target, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """Where the session is bound, and how long it lives."""
    show(target.of_pool(pool, lambda found: found.session(id).info()), output)


@with_target
def delete(target: Target, pool: PoolArgument, id: IdArgument) -> None:
    """End the session, with its state."""
    if not target.of_pool(pool, lambda found: found.session(id).delete()):
        raise SessionNotFound(f"pool {target.pool(pool)} has no session {id!r}")


@with_target
def rebind(target: Target, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """Let go of the session's worker; the next call binds anew."""
    show(target.of_pool(pool, lambda found: found.session(id).rebind()), output)


@with_target
def export(
    target: Target,
    pool: PoolArgument,
    id: IdArgument,
    file: Annotated[Path | None, typer.Option("-O", "--output-file", metavar="FILE", help="Where to write; else standard output.")] = None,
) -> None:
    """Write the session, with its metadata and state, as JSON."""
    with contextlib.closing(Sink(Output.table, file)) as sink:
        sink.put(snapshot.encode(target.of_pool(pool, lambda found: found.session(id).export())).decode())


@with_target
def import_(
    target: Target,
    pool: PoolArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote; - for standard input.")],
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Of the new session; else the exported one's.")] = None,
) -> None:
    """Make a session of an exported one, in any pool; prints its id."""
    try:
        saved = snapshot.decode(read_file(str(file)))
    except OSError as error:
        raise InvalidArguments(f"{file}: {error.strerror}") from error
    new = id or saved.id
    target.of_pool(pool, lambda found: found.session(new).restore(saved))
    print(new)


@with_target
def state(target: Target, pool: PoolArgument, id: IdArgument, output: OutputOption = Output.table) -> None:
    """The session's keys and values."""

    async def read(found: Pool) -> dict[str, Any]:
        keys = found.session(id).state
        return {key: await keys.get(key) for key in await keys.keys()}

    show(target.of_pool(pool, read), output)


COMMANDS = (get, state, rebind, delete, export, import_)
