"""`snakepit logs`: what the capsules of a pool have logged, in `snakepit dev` or in a cluster; of one call, if it is named."""

from __future__ import annotations

import enum
import sys
from collections import deque
from collections.abc import Iterable
from typing import Annotated

import typer

from snakepit._telemetry.log_lines import LogLine, as_text, encode
from snakepit.cli import signals
from snakepit.cli.config import Kube
from snakepit.cli.target import Target, with_target

MOST_SORTED = 100_000
"""Lines of several capsules that are put in order; of more, the last ones are shown."""


class Form(enum.StrEnum):
    """How lines are printed."""

    text = "text"
    json = "json"

    @property
    def is_for_people(self) -> bool:
        """Whether people read it, or programs."""
        return self is Form.text


class View:
    """Which lines are shown, and how. `call`: only those of this call."""

    def __init__(self, form: Form, call: str | None, timestamps: bool) -> None:
        self.is_of_a_call = call is not None
        self._form, self._call, self._timestamps = form, call, timestamps

    def has(self, line: LogLine) -> bool:
        """Is the line meant?"""
        return self._call is None or line.call == self._call

    def show(self, lines: Iterable[LogLine]) -> None:
        """Print them."""
        for line in lines:
            sys.stdout.write(encode(line).decode() if self._form is Form.json else self._for_people(line))
        sys.stdout.flush()

    def _for_people(self, line: LogLine) -> str:
        stamp = f"{line.time} " if self._timestamps else ""
        return "".join(f"{stamp}{line.capsule or line.component} | {each}\n" for each in as_text(line).split("\n"))


@with_target
def logs(
    target: Target,
    of: Annotated[
        str | None, typer.Argument(metavar="POOL | CAPSULE", help="Of one pool, or of one of its capsules; else of all pools.")
    ] = None,
    call: Annotated[
        str | None, typer.Option("--call", metavar="CALL_ID", help="Only of this call, as an error or `snakepit calls` has its id.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what is logged from now on, until dev ends, or Ctrl-C.")
    ] = False,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", min=0, help="Only the last so many lines.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Put the time, in UTC, before each line.")] = False,
    output: Annotated[Form, typer.Option("-o", "--output", help="Lines for people, or JSON as docs/logs.md has it.")] = Form.text,
) -> None:
    """Show what workers have printed, logged and raised, and what is said of them; of a cluster with --kube."""
    view = View(output, call, timestamps)
    if target.kube is None:
        found = _of_dev(target, of, view, tail, follow=follow)
    else:
        found = signals.run(_of_pods(target.kube, target.namespace, of, view, tail, follow=follow))
    if call and not found:
        print(f"no line of call {call} is there: it said nothing, or its lines are gone", file=sys.stderr)


def _of_dev(target: Target, of: str | None, view: View, tail: int | None, *, follow: bool) -> int:
    from snakepit.cli import dev_logs  # Every other command begins without it.

    count = 0
    with dev_logs.read(target, of) as (kept, coming):
        meant = deque((line for line in kept if view.has(line)), tail)
        view.show(meant)
        count += len(meant)
        for line in coming if follow else ():
            if view.has(line):
                view.show([line])
                count += 1
    return count


async def _of_pods(kube: Kube, namespace: str, of: str | None, view: View, tail: int | None, *, follow: bool) -> int:
    """What is few is put in order of time; else lines come as kubectl has them."""
    from snakepit.cli import pod_logs  # Every other command begins without it.

    if of is not None and "/" in of and not of.rpartition("/")[2].isdecimal():
        namespace, _, of = of.partition("/")
    is_few = not follow and (tail is not None or view.is_of_a_call)
    found: deque[LogLine] = deque(maxlen=MOST_SORTED)
    count = 0
    async for line in pod_logs.read(kube, namespace, of, follow=follow, tail=None if view.is_of_a_call else tail):
        if view.has(line):
            count += 1
            found.append(line) if is_few else view.show([line])
    view.show(deque(sorted(found, key=lambda line: line.time), tail))
    return count
