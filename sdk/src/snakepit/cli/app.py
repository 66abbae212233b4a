"""Assembles the commands; those of other distributions come in through the entry-point group `snakepit.commands`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from snakepit import __version__, installing
from snakepit.cli import call, doctor, look, maintain, session
from snakepit.errors import SnakepitError

GROUP = "snakepit.commands"
_MISSING = {"dev": "snakepit-local"}
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}
"""The hint comes whatever else was typed."""

app = typer.Typer(
    help="Warm pools of Python workers: call tools, look at pools, run them here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("call")(call.call)
app.command("pools")(look.pools)
app.command("workers")(look.workers)
app.command("tools")(look.tools)
app.command("sessions")(look.sessions)
app.add_typer(session.app, name="session", help="Look at one session, or change it.")
app.command("doctor")(doctor.doctor)
app.command("drain")(maintain.drain)
app.command("recycle")(maintain.recycle)


@app.command("version")
def show_version() -> None:
    """The version of this program."""
    typer.echo(__version__)


def run(arguments: list[str]) -> int:
    """The exit status. Failures are told in one sentence."""
    _add_commands()
    try:
        app(arguments, prog_name="snakepit")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except SnakepitError as error:
        print(f"snakepit: {error.reason}: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"snakepit: {error}", file=sys.stderr)
        return 1
    return 0


def _add_commands() -> None:
    found = {each.name: each for each in entry_points(group=GROUP)}
    for name, point in found.items():
        app.command(name)(_load(point))
    for name in _MISSING.keys() - found.keys():
        app.command(name, hidden=True, context_settings=_ANY)(_missing(name))


def _load(point: EntryPoint) -> Callable[..., Any]:
    command: Callable[..., Any] = point.load()
    return command


def _missing(name: str) -> Callable[[], None]:
    def command() -> None:
        raise SnakepitError(f"the command {name!r} is in another package, {_MISSING[name]}, which is not installed. {installing.WHOLE}")

    return command
