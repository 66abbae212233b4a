"""The commands of docs/command-line.md, out of the program itself: `make docs` writes them, `make lint` says when they are stale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import typer

from snakepit.cli.app import EXAMPLES, make_app
from snakepit.cli.target import PANEL

MARK = "<!-- From here on generated from the program by `make docs`; don't edit. -->\n"
_TYPERS_OWN = {"install_completion", "show_completion", "help"}


def page(text: str) -> str:
    """The page with its generated end made anew."""
    return text.partition(MARK)[0] + MARK + "\n" + "\n".join(_all())


def _all() -> Iterator[str]:
    root = typer.main.get_command(make_app())
    yield "## Where the pools are\n\nThese options stand before a command's name or after it.\n"
    yield _table(each for each in root.params if _is_of_reach(each))
    yield "## Commands\n"
    for name, command in _leaves(root, ""):
        yield from _section(name, command)


def _leaves(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{before}{name} ")
        elif not command.hidden:
            yield f"{before}{name}", command


def _section(name: str, command: Any) -> Iterator[str]:
    own = [each for each in command.params if not _is_of_reach(each) and each.name not in _TYPERS_OWN]
    arguments = [each for each in own if each.param_type_name == "argument"]
    usage = " ".join([each.metavar if each.required or each.metavar.startswith("[") else f"[{each.metavar}]" for each in arguments])
    yield f"### {name}\n\n{' '.join(command.help.split())}\n"
    yield "```\n" + "\n".join([f"snakepit {name} {usage}".rstrip() + " [OPTION...]", "", *EXAMPLES[name]]) + "\n```\n"
    if own:
        yield _table(own)


def _table(parameters: Any) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {_name(each)} | {_meaning(each)} |\n" for each in parameters)


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_escaped(parameter.metavar)}`"
    words = ", ".join(f"`{each}`" for each in parameter.opts)
    value = "" if parameter.is_flag else f" `{_escaped(parameter.metavar or '|'.join(_choices(parameter)))}`"
    return words + value


def _meaning(parameter: Any) -> str:
    default = parameter.default
    shown = "" if default is None or default is False or parameter.param_type_name == "argument" else f" Default: `{default}`."
    return _escaped(" ".join(parameter.help.split())) + shown


def _choices(parameter: Any) -> list[str]:
    """Of a Literal, or of an enumeration of words."""
    kind = parameter.type_descriptor.annotation
    return [str(each) for each in get_args(kind) or kind]


def _is_of_reach(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) == PANEL


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
