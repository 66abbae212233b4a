"""Commands that say what there is, or who asks, or see to one worker: `pools`, `workers`, `tools`, `sessions`, `whoami`, `drain` …"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Set
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from snakepit._names import parse_worker
from snakepit._tasks import ask_each
from snakepit.cli import signals, tables
from snakepit.cli.config import Kube
from snakepit.cli.output import Output, OutputOption, remark, show, show_rows
from snakepit.cli.reach import Reach
from snakepit.cli.target import PoolArgument, Target, with_target
from snakepit.cli.type_stubs import render
from snakepit.client import Client, Pool
from snakepit.client.findings import causes
from snakepit.client.views import PoolInfo
from snakepit.errors import InvalidArguments, PoolNotFound, ServerUnavailable

ASKED_AT_ONCE = 8
"""Pools, of which every replica is asked."""


@with_target
def pools(target: Target, output: OutputOption = Output.table) -> None:
    """List every pool."""
    reach = Reach()
    found, missing = target.run(_pools, reach)
    show_rows(found, tables.POOLS, output)
    remark(output, reach.remark, tables.unanswered(missing, "what it has counted for BUDGET is"))


async def _pools(client: Client) -> tuple[list[PoolInfo], Set[str]]:
    """With the objectives' counts of all replicas, but for those that are named: they didn't say theirs in time."""
    missing: set[str] = set()

    async def counted(info: PoolInfo) -> PoolInfo:
        if not info.objectives:
            return info
        try:
            history = await client.pool(info.name).history()
        except PoolNotFound:  # deleted meanwhile
            return info
        missing.update(history.missing)
        return msgspec.structs.replace(info, objectives=history.objectives)

    return await ask_each(await client.pools(), counted, at_once=ASKED_AT_ONCE), missing


@with_target
def workers(target: Target, pool: PoolArgument, output: OutputOption = Output.table) -> None:
    """List a pool's workers, and why those that can't start can't."""
    found = target.of_pool(pool, Pool.workers)
    show_rows(found, tables.WORKERS, output)
    if output.is_for_people:
        for said, traceback in causes(found):
            typer.echo(f"\n{said}\n{traceback}")


@with_target
def tools(
    target: Target,
    pool: PoolArgument,
    tool: Annotated[str | None, typer.Argument(metavar="TOOL", help="One tool, with its schema.")] = None,
    stubs: Annotated[bool, typer.Option("--stubs", help="Print Python classes for typed calls: `pool.typed(...)`.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """List a pool's tools, or show one of them. ARGUMENTS that may be left out have a question mark."""
    if stubs:
        found = target.of_pool(pool, Pool.tools)
        typer.echo(render(target.pool(pool), [each for each in found if tool in (None, each.name)]), nl=False)
    elif tool is None:
        show_rows(target.of_pool(pool, Pool.tools), tables.TOOLS, output)
    else:
        name = tool
        show(target.of_pool(pool, lambda found: found.tool(name)), output)


@with_target
def sessions(target: Target, pool: PoolArgument, output: OutputOption = Output.table) -> None:
    """List a pool's sessions."""
    found = target.of_pool(pool, Pool.sessions)
    show_rows(found, tables.sessions(datetime.now(UTC)), output)


WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="capsule/index, as `snakepit workers` shows it.")]


@with_target
def drain(target: Target, worker: WorkerArgument) -> None:
    """Send a worker no new calls; it ends when its running calls have, and a fresh one starts in its place."""
    target.run(lambda client: _see_to(client, worker, Pool.drain_worker))


@with_target
def recycle(target: Target, worker: WorkerArgument) -> None:
    """Replace a worker: when its successor is ready, it takes no new calls, and ends when it has finished its own."""
    target.run(lambda client: _see_to(client, worker, Pool.recycle_worker))


async def _see_to(client: Client, worker: str, action: Callable[[Pool, str], Awaitable[None]]) -> None:
    """Find the worker's pool and act there. Raises InvalidArguments when no pool has the worker."""
    parse_worker(worker)
    for info in await client.pools():
        pool = client.pool(info.name)
        if any(each.id == worker for each in await pool.workers()):
            return await action(pool, worker)
    raise InvalidArguments(f"worker {worker!r} is in no pool: `snakepit workers POOL` lists them")


@with_target
def whoami(target: Target, output: OutputOption = Output.table) -> None:
    """Say who the control plane takes you for, as `kubectl auth whoami` does, and when your token expires."""
    found = target.run(lambda client: client.whoami())
    if output.is_for_people:
        show_rows(tables.attributes(found), tables.ATTRIBUTES, output)
    else:
        show(found, output)


@with_target
def connect(
    target: Target,
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The local port; 0: any that is free.")] = 0,
) -> None:
    """Forward a port to the release in a cluster, print what programs need to be told, and stay until Ctrl-C."""
    if target.kube is None:
        raise InvalidArguments("connect forwards a port to a cluster: give --kube, or --server with a name whose entry has kube")
    from snakepit._wire.trust import OFF
    from snakepit.cli.forward import forwarded

    async def stay(kube: Kube) -> None:
        async with forwarded(kube, port, with_token=True) as forward:
            token = f" SNAKEPIT_TOKEN_FILE={forward.token_file}" if forward.token_file else ""
            tls = f" SNAKEPIT_CA_FILE={forward.ca_file} SNAKEPIT_TLS_SERVER_NAME={forward.server_name}" if forward.ca_file != OFF else ""
            # A lane is at its replica's own address, which no forward leads to.
            print(f"export SNAKEPIT_SERVER={forward.address} SNAKEPIT_LANES=off{token}{tls}", flush=True)
            print("forwarding until Ctrl-C; paste the line above where your programs run", file=sys.stderr, flush=True)
            raise ServerUnavailable(await forward.ended())

    signals.run(stay(target.kube))
