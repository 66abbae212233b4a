"""`snakepit call`: run a tool once; with `--wait`, as soon as its pool is ready."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from snakepit.cli import failures
from snakepit.cli.arguments import parse_arguments, read_file, wants_schema
from snakepit.cli.command import Command
from snakepit.cli.output import Output, OutputOption, Sink, say
from snakepit.cli.target import PoolArgument, Target, with_target
from snakepit.client import Client, Pool, Session
from snakepit.client.requests import Encoding, Priority
from snakepit.errors import (
    InvalidArguments,
    PayloadWarning,
    PoolNotFound,
    PoolNotReady,
    ServerUnavailable,
    SnakepitError,
    Started,
    ToolError,
    ToolNotFound,
)

USUAL_SECONDS = 120.0
PAUSE_SECONDS = 0.3

_NOT_YET = (PoolNotReady, PoolNotFound, ServerUnavailable)


async def until_ready(work: Callable[[], Awaitable[None]], seconds: float | None, tell: Callable[[SnakepitError], None]) -> None:
    """Try `work` until the pool is ready. Without `seconds` the first try is the only one.

    `tell` gets what is waited for, once for each reason.
    """
    now = asyncio.get_running_loop().time
    end, told = now() + (seconds or 0.0), ""
    while True:
        try:
            return await work()
        except _NOT_YET as error:
            if error.started is not Started.NO or now() + PAUSE_SECONDS > end:
                if seconds is not None or isinstance(error, PoolNotReady):
                    error.add_note("--wait waits until it is" if seconds is None else f"waited {seconds:g} s")
                raise
            if error.reason != told:
                told = error.reason
                tell(error)
            await asyncio.sleep(PAUSE_SECONDS)


class WaitingCommand(Command):
    """A command whose `--wait` may have its seconds after it, or nothing."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a `--wait` without a number its usual one."""
        return super().parse_args(ctx, [each for i, word in enumerate(args) for each in _spelled(word, args[i + 1 : i + 2])])


def _spelled(word: str, following: list[str]) -> list[str]:
    if word != "--wait" or (following and _is_number(following[0])):
        return [word]
    return [word, str(USUAL_SECONDS)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


ToolArgument = Annotated[str, typer.Argument(metavar="TOOL", help="One of those that `snakepit tools POOL` lists.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGUMENT",
        help="key=value, as the tool's schema wants it; key=@FILE: what a file holds; key:=JSON; or one JSON object; or - to read one.",
    ),
]


class CallOptions(msgspec.Struct, frozen=True):
    """How the tool is called, as it was typed."""

    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="In this session; made if there is none.")] = None
    stream: Annotated[bool, typer.Option("--stream", help="Print each piece as it arrives.")] = False
    progress: Annotated[bool, typer.Option("--progress", help="Show on stderr what the tool says of its progress.")] = False
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, help="For all of the call; else the tool's own, or the pool's."),
    ] = None
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="[SECONDS]", min=0.0, help="Until the pool is ready, for so long at most (120 without a number)."),
    ] = None
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="Whatever happens, the tool runs once for this key.")
    ] = None
    priority: Annotated[Priority, typer.Option("--priority", help="Which of your calls go first; low: everybody's others do.")] = "normal"
    payload: Annotated[
        Encoding,
        typer.Option("--payload", help="How arguments and result are encoded; pickle runs code of the other side's choice."),
    ] = "json"

    def check(self) -> None:
        """Raise InvalidArguments for what can't be asked for together."""
        if self.stream and self.idempotency_key:
            raise InvalidArguments("a stream can't have an idempotency key: give --stream or --idempotency-key")


class OneCall(msgspec.Struct, frozen=True):
    """One call, and where what comes of it goes: results into `sink`, and what is said beside them in the form of `output`."""

    pool: str
    tool: str
    words: list[str]
    options: CallOptions
    sink: Sink
    output: Output

    async def perform(self, target: Pool | Session, values: dict[str, Any]) -> None:
        """Raises SnakepitError."""
        timeout, priority, key = self.options.timeout, self.options.priority, self.options.idempotency_key
        watch = self._on_progress if self.options.progress else None
        if self.options.stream:
            async for piece in target.stream(self.tool, values, timeout=timeout, priority=priority, on_progress=watch):
                self.sink.put(piece, piece=True)
            return
        self.sink.put(await target.call(self.tool, values, timeout=timeout, priority=priority, idempotency_key=key, on_progress=watch))

    def _on_progress(self, fraction: float, message: str) -> None:
        line = f"{fraction:4.0%} {message}".rstrip()
        say(line, {"progress": {"fraction": fraction, "message": message}}, self.output)

    def on_waiting(self, error: SnakepitError) -> None:
        """Say what is waited for."""
        say(f"waiting: {error}", {"waiting": {"reason": error.reason, "message": error.message}}, self.output)


@with_target
def call(
    target: Target,
    pool: PoolArgument,
    tool: ToolArgument,
    arguments: Words = None,
    *,
    options: CallOptions,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the tool's traceback when it raises.")] = False,
    file: Annotated[
        Path | None, typer.Option("-O", "--output-file", metavar="FILE", help="Write the result there: bytes and texts as they are.")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Run a tool, and print what it returns."""
    options.check()
    with contextlib.closing(Sink(output, file)) as sink, _warnings(output):
        asked = OneCall(target.pool(pool), tool, arguments or [], options, sink, output)
        try:
            target.run(lambda client: _perform(client, asked))
        except SnakepitError as error:
            error.add_note(failures.of_started(error))
            if traceback and isinstance(error, ToolError) and output.is_for_people:
                print(error.traceback, end="", file=sys.stderr)
            raise


async def _perform(client: Client, asked: OneCall) -> None:
    pool = client.pool(asked.pool, payload=asked.options.payload)
    read = functools.cache(read_file)
    known = None if wants_schema(asked.words) else parse_arguments(asked.words, read=read)

    async def perform(values: dict[str, Any]) -> None:
        target: Pool | Session = pool
        if asked.options.session is not None:
            target = pool.session(asked.options.session)
            await target.create()
        await asked.perform(target, values)

    async def once() -> None:
        if known is not None:
            await perform(known)
            return
        schema = await _schema(pool, asked.tool)
        try:
            await perform(parse_arguments(asked.words, schema, read))
        except InvalidArguments as error:
            # The call may have waited for the pool's first worker, and with it for the schema.
            if schema is not None or error.started is not Started.NO or (schema := await _schema(pool, asked.tool)) is None:
                raise
            await perform(parse_arguments(asked.words, schema, read))

    await until_ready(once, asked.options.wait, asked.on_waiting)


async def _schema(pool: Pool, tool: str) -> dict[str, Any] | None:
    """Ask for the tool's schema. It is None where there is no such tool, or not yet: the call itself says so best, or waits."""
    try:
        return (await pool.tool(tool)).input_schema
    except (PoolNotFound, PoolNotReady, ToolNotFound):
        return None


@contextlib.contextmanager
def _warnings(output: Output) -> Iterator[None]:
    """A warning of what can't be carried is one sentence, without the line of ours that it came from."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"warning: {message}", {"warning": {"message": str(message)}}, output)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PayloadWarning)
        warnings.showwarning = show
        yield
