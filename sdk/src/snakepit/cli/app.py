"""Assembles the commands; those of other distributions come in through the entry-point group `snakepit.commands`."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.markup import escape

from snakepit import __version__, _extras
from snakepit.cli import call, calls, commands, failures, logs, session
from snakepit.cli.command import Command
from snakepit.cli.doctor.command import doctor
from snakepit.cli.output import Output
from snakepit.cli.target import TargetOptions, signed
from snakepit.cli.top.command import top
from snakepit.errors import InvalidArguments, SnakepitError

GROUP = "snakepit.commands"
_MISSING = {"dev": "snakepit-local", "mcp": "snakepit-gateway"}
_ANY = {"allow_extra_args": True, "ignore_unknown_options": True}
"""The hint comes whatever else was typed."""

_CANT_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""A full disk, as a rule, behind a redirection."""

_COMMANDS = (
    commands.pools,
    commands.workers,
    commands.tools,
    commands.sessions,
    top,
    calls.calls,
    calls.explain,
    doctor,
    logs.logs,
    commands.drain,
    commands.recycle,
    commands.whoami,
    commands.connect,
)

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "snakepit": (
        "snakepit dev pool.yaml",
        "snakepit call default/greetings greet name=Ada",
        "snakepit --kube call default/greetings greet name=Ada",
    ),
    "call": (
        "snakepit call digits classify image=@image.json --timeout 5",
        "snakepit call digits count to=3 --stream",
        "snakepit call notes remember key=a value:='[1, 2]' --session user-42",
        "snakepit call reports render data=@report.csv -O report.pdf --wait",
    ),
    "pools": ("snakepit pools", "snakepit pools -o wide"),
    "workers": ("snakepit workers default/digits", "snakepit workers digits -n team -o json"),
    "tools": ("snakepit tools digits", "snakepit tools digits classify -o yaml"),
    "sessions": ("snakepit sessions digits",),
    "top": ("snakepit top", "snakepit top digits --interval 1", "snakepit top --once --sort errors", "snakepit --kube top --once -o json"),
    "calls": ("snakepit calls", "snakepit calls digits --slow 0.5", "snakepit calls digits --reason WORKER_LOST -o json"),
    "explain": ("snakepit explain bad94f0ad1be576f",),
    "session get": ("snakepit session get digits user-42",),
    "session delete": ("snakepit session delete digits user-42",),
    "session rebind": ("snakepit session rebind digits user-42",),
    "session state": ("snakepit session state digits user-42 -o yaml",),
    "session export": ("snakepit session export digits user-42 -O user-42.json",),
    "session import": ("snakepit session import digits user-42.json --id user-42-again",),
    "doctor": ("snakepit doctor", "snakepit doctor default/digits"),
    "drain": ("snakepit drain digits-0/1",),
    "recycle": ("snakepit recycle digits-0/1",),
    "whoami": ("snakepit whoami", "snakepit --kube whoami -o json"),
    "connect": ("snakepit --kube connect", "snakepit connect --server production --port 7800"),
    "dev": ("snakepit dev pool.yaml --watch", "snakepit dev pools/*.yaml --store redis://localhost:6379/0"),
    "logs": (
        "snakepit logs",
        "snakepit logs digits --follow",
        "snakepit logs --call bad94f0ad1be576f",
        "snakepit --kube logs digits -n team",
    ),
    "mcp": ("snakepit mcp notes", "snakepit --kube -n team mcp notes --no-sessions"),
}
"""Of each command: shown by its help, and on the page of the command line."""


def _with_examples(name: str) -> str:
    return "\n\n".join(["Examples:", *(escape(each) for each in EXAMPLES.get(name, ()))])


def _add(to: typer.Typer, name: str, command: Callable[..., Any], cls: type[Command] = Command, prefix: str = "") -> None:
    to.command(name, cls=cls, epilog=_with_examples(prefix + name))(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snakepit {__version__}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version of this program.")
    ] = False,
    **asked: Any,
) -> None:
    """Warm pools of Python workers: call tools, look at pools, run them here."""
    ctx.obj = TargetOptions(**asked)


def make_app() -> typer.Typer:
    """Assemble every command, those of other distributions included."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
    own = [each for each in inspect.signature(_root, eval_str=True).parameters.values() if each.name == "show_version"]
    app.callback(epilog=_with_examples("snakepit"))(signed(_root, own))
    _add(app, "call", call.call, call.WaitingCommand)
    for command in _COMMANDS:
        _add(app, command.__name__, command)
    sessions = typer.Typer(no_args_is_help=True, help="Look at one session, or change it.")
    for command in session.COMMANDS:
        _add(sessions, command.__name__.rstrip("_"), command, prefix="session ")
    app.add_typer(sessions, name="session")
    _add_of_others(app)
    return app


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status. A failure is told in one sentence."""
    try:
        make_app()(arguments, prog_name="snakepit")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except (SnakepitError, ValueError) as error:
        return failures.tell(error, Output.table)
    except OSError as error:
        if error.errno not in _CANT_BE_WRITTEN:
            raise
        return failures.tell(RuntimeError(f"{error.filename or 'standard output'} can't be written: {error.strerror}"), Output.table)
    return 0


def _add_of_others(app: typer.Typer) -> None:
    own = {each.__name__ for each in _COMMANDS}
    found = {each.name: each for each in entry_points(group=GROUP) if each.name not in own}
    for name, point in found.items():
        _add(app, name, point.load())
    for name in _MISSING.keys() - found.keys():
        app.command(name, hidden=True, context_settings=_ANY)(_missing(name))


def _missing(name: str) -> Callable[[], None]:
    def command() -> None:
        raise InvalidArguments(f"the command {name!r} is in another package, {_MISSING[name]}, which is not installed. {_extras.WHOLE}")

    return command
