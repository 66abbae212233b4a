"""`snakepit doctor`: prints what was found, and ends with status 1 where something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from snakepit.cli import signals
from snakepit.cli.failures import ExitStatus
from snakepit.cli.output import Output, OutputOption, show
from snakepit.cli.target import Target, with_target
from snakepit.client.findings import Finding, with_each_traceback_once

if TYPE_CHECKING:
    from snakepit.cli.doctor.examination import Report


@with_target
def doctor(
    target: Target,
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="One pool, instead of all.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Walk from here to the store and the pools: what is wrong, and what to do? Exit status 1 if there is anything."""
    from snakepit.cli.doctor.examination import examine  # Every other command begins without it.

    report = signals.run(examine(target, target.pool(pool) if pool else None))
    wrong = [each for each in report.findings if each.severity == "error"]
    if output.is_for_people:
        _tell(report, wrong, pool)
    else:
        show(report.findings, output)
    if wrong:
        raise typer.Exit(ExitStatus.FAILED)


def _tell(report: Report, wrong: list[Finding], pool: str | None) -> None:
    notes = [each for each in report.findings if each.severity != "error"]
    _tell_each("", with_each_traceback_once(wrong))
    if not wrong:
        pools = "the way to the control plane" if report.pools is None else f"{report.pools} {'pool' if report.pools == 1 else 'pools'}"
        typer.echo(f"nothing is wrong with {pool or pools}")
    _tell_each("note: ", notes)


def _tell_each(prefix: str, findings: Iterable[Finding]) -> None:
    for each in findings:
        typer.echo(f"{prefix}{each.about}: {each.reason}: {each.message}")
        if each.traceback:
            typer.echo("    " + each.traceback.rstrip().replace("\n", "\n    "))
