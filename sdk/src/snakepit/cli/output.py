"""Prints values: tables for people, JSON and YAML for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from snakepit.cli.options import Output

_WIDE = 120


def show_rows(rows: Sequence[msgspec.Struct], columns: Sequence[str], output: Output) -> None:
    """Structs as a table of `columns`, or whole as JSON or YAML."""
    if output is not Output.table:
        show(list(rows), output)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.removesuffix("_seconds").replace("_", " ").upper(), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(getattr(row, column)) for column in columns))
    _console().print(table)


def show(value: Any, output: Output) -> None:
    """Any value; as a table, a string prints as it is and the rest as JSON."""
    plain = msgspec.to_builtins(value, enc_hook=_readable)
    if output is Output.yaml:
        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), end="", flush=True)
    elif isinstance(plain, str) and output is Output.table:
        print(plain, flush=True)
    else:
        text = msgspec.json.encode(plain).decode()
        pretty = msgspec.json.format(text, indent=2)
        print(pretty if len(text) > _WIDE else text, flush=True)


def _console() -> Console:
    console = Console(highlight=False)
    # A table in a pipe must not be folded to 80 columns.
    return console if console.is_terminal else Console(highlight=False, width=250)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(timespec="seconds"))
    return str(value)


def _readable(value: Any) -> Any:
    """Arrays and the like, which tools may answer with."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
