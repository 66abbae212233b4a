"""`snakepit doctor`: what keeps pools from serving and workers from starting, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from snakepit.cli.failures import ExitStatus
from snakepit.cli.output import Output, OutputOption, show
from snakepit.cli.target import Target, with_target
from snakepit.client import Client
from snakepit.client.findings import Finding, of_pool, with_each_traceback_once

_AT_ONCE = 16


@with_target
def doctor(
    target: Target,
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="One pool, instead of all.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Say what keeps pools from serving, and which workers can't start and why. Exit status 1 if there is anything."""
    checked, findings = target.run(lambda client: _examine(client, target.pool(pool) if pool else None))
    if not output.is_for_people:
        show(findings, output)
    elif findings:
        for each in with_each_traceback_once(findings):
            typer.echo(f"{each.about}: {each.reason}: {each.message}")
            if each.traceback:
                typer.echo("    " + each.traceback.rstrip().replace("\n", "\n    "))
    else:
        typer.echo(f"nothing is wrong with {pool}" if pool else f"nothing is wrong with {checked} {'pool' if checked == 1 else 'pools'}")
    if findings:
        raise typer.Exit(ExitStatus.FAILED)


async def _examine(client: Client, pool: str | None) -> tuple[int, list[Finding]]:
    """Look at the pools, and return how many they were and what was found."""
    pools = await client.pools() if pool is None else [await client.pool(pool).info()]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def look(name: str) -> list[Finding]:
        async with turns:
            # Both at one time: a worker that has just started would else be missed by the one or the other.
            info, workers = await asyncio.gather(client.pool(name).info(), client.pool(name).workers())
            return of_pool(info, workers)

    found = await asyncio.gather(*(look(each.name) for each in pools))
    return len(pools), [each for findings in found for each in findings]
