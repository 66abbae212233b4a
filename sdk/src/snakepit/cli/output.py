"""Prints what a command found: tables for people, JSON and YAML for programs, bytes as bytes.

In JSON and YAML, fields of ours are camelCase, as the CRD's; what is a user's stays as it is.
"""

from __future__ import annotations

import contextlib
import enum
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer
import yaml

from snakepit.cli.tables import Column, lines
from snakepit.errors import InvalidArguments, Started

_AS_LISTS = (("tolist", ()), ("to_pylist", ()), ("to_dicts", ()), ("to_list", ()), ("to_dict", ("records",)))
"""What numpy, pyarrow, polars (frames, series) and pandas call it."""


def plain(value: Any) -> Any:
    """Make a value of objects, lists, text, numbers and null alone; bytes become base64."""
    if isinstance(value, msgspec.Struct):
        return {camel(name): plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return msgspec.to_builtins(value, enc_hook=_readable, str_keys=True)


def camel(name: str) -> str:
    """Spell `age_seconds` as `ageSeconds`."""
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)


def as_json(value: Any, *, pretty: bool = False) -> str:
    """Write JSON on one line; with `pretty`, on several."""
    text = msgspec.json.encode(plain(value))
    return (msgspec.json.format(text, indent=2) if pretty else text).decode()


def as_yaml(value: Any, *, document: bool = False) -> str:
    """Write YAML with its newline. A `document` begins with ---, as one of several."""
    text = yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, explicit_start=document, width=2**31)
    return text.removesuffix("...\n")


def _readable(value: Any) -> Any:
    """Make lists of arrays, and of tables lists of their rows: tools may answer with those of any library."""
    for method, words in _AS_LISTS:
        if hasattr(value, method):
            return getattr(value, method)(*words)
    return str(value)


_LONG = 120


class Output(enum.StrEnum):
    """How results are printed."""

    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"

    @property
    def is_for_people(self) -> bool:
        """Whether people read it, or programs."""
        return self in (Output.table, Output.wide)


OutputOption = Annotated[
    Output, typer.Option("-o", "--output", help="How to print: a table, one with all columns, or for programs JSON or YAML.")
]


def show_rows(rows: Sequence[Any], columns: Sequence[Column], output: Output) -> None:
    """Print rows as a table, or whole as JSON or YAML."""
    if not output.is_for_people:
        show(list(rows), output)
        return
    wanted = [each for each in columns if output is Output.wide or not each.wide]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and output is Output.table else None
    print("\n".join(lines(wanted, rows, width=width)), flush=True)


def show(value: Any, output: Output) -> None:
    """Print one value; people get a text as it is and the rest as JSON."""
    sys.stdout.write(rendered(value, output))
    sys.stdout.flush()


def rendered(value: Any, output: Output, *, piece: bool = False) -> str:
    """Render a value with its newline. A `piece` of a stream is one line of JSON, or one document of YAML."""
    if output is Output.yaml:
        return as_yaml(value, document=piece)
    if isinstance(value, str) and output.is_for_people:
        return value + "\n"
    text = as_json(value)
    return (as_json(value, pretty=True) if len(text) > _LONG and not piece else text) + "\n"


def remark(output: Output, *said: str) -> None:
    """Print what is to be known beside what was found on standard error: a line each, or an object for programs. Empty ones say nothing."""
    for each in filter(None, said):
        say(each, {"warning": {"message": each}}, output)


def say(line: str, what: dict[str, Any], output: Output) -> None:
    """Say something beside the result: a line for people, an object for programs."""
    if output is Output.yaml:
        line = as_yaml(what, document=True).rstrip("\n")
    elif output is Output.json:
        line = as_json(what)
    print(line, file=sys.stderr, flush=True)


class Sink:
    """Where the results of a call go: standard output, or a file that is written once there is something to write.

    Bytes stay bytes, unless JSON or YAML was asked for. Raises InvalidArguments where the file can't be.
    """

    def __init__(self, output: Output, file: Path | None) -> None:
        self._output = output
        self._path = file
        self._file: BinaryIO | None = None
        if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.absolute().parent, os.W_OK)):
            raise InvalidArguments(f"{file} can't be written: is it in a folder that is there, and yours?")

    def put(self, value: Any, *, piece: bool = False) -> None:
        """Write one value, or one piece of a stream. Raises InvalidArguments where the file can't be written."""
        raw = self._output.is_for_people and isinstance(value, (bytes, bytearray, memoryview))
        if self._path is not None:
            text = self._output.is_for_people and isinstance(value, str)
            self._to_file(self._path, value if raw else (value if text else rendered(value, self._output, piece=piece)).encode())
        elif raw and sys.stdout.isatty():
            print(f"{len(value)} bytes: pipe them, or write them to a file with -O FILE", flush=True)
        elif raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(value)
            sys.stdout.buffer.flush()
        else:
            sys.stdout.write(rendered(value, self._output, piece=piece))
            sys.stdout.flush()

    def close(self) -> None:
        """Close the file, if one was begun."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # Each write is flushed: what failed has been said, and fails again here.
                self._file.close()

    def _to_file(self, path: Path, data: bytes | bytearray | memoryview) -> None:
        try:
            if self._file is None:
                self._file = path.open("wb")
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise InvalidArguments(f"{path} can't be written: {error.strerror}", started=Started.YES) from error
