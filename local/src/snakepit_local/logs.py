"""`snakepit logs`: what the workers of a running `snakepit dev` have printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from snakepit._names import nearest
from snakepit.cli.target import Target, with_target
from snakepit.errors import InvalidArguments, PoolNotFound
from snakepit_local import folder

POLL_SECONDS = 0.1


@with_target
def logs(
    target: Target,
    of: Annotated[
        str | None, typer.Argument(metavar="[POOL | CAPSULE]", help="Of one pool, or of one of its capsules; else of all pools.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is printed from now on, until dev ends.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", min=0, help="Only the last so many lines.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Put the time, in UTC, before each line.")] = False,
) -> None:
    """Show what the workers of a running `snakepit dev` have printed, the last MiB or two of each pool."""
    root = _root(target)
    pool, capsule = _which(target, folder.pools(root), of)

    def show(lines: Sequence[folder.LogLine]) -> None:
        for line in lines:
            sys.stdout.write(f"{f'{line.time} ' if timestamps else ''}{line.capsule} | {line.text}\n")
        sys.stdout.flush()

    batches = (
        [line for line in lines if capsule in (None, line.capsule)]
        for lines in folder.read_logs(root, [each for each in folder.pools(root) if pool in (None, each)])
    )
    kept = next(batches)
    show(kept if tail is None else kept[max(0, len(kept) - tail) :])
    while follow and (lines := next(batches, None)) is not None:
        show(lines)
        if not lines:
            time.sleep(POLL_SECONDS)


def _root(target: Target) -> Path:
    if target.kube is not None:
        raise InvalidArguments("logs shows those of `snakepit dev`; on a cluster: kubectl logs -l snakepit.dev/pool=NAME --prefix --follow")
    known = folder.running()
    root = folder.at(target.address, known)
    if root is None:
        there = f"it runs at {', '.join(sorted(known))}: say which with --server" if known else "start it, or on a cluster use kubectl logs"
        raise InvalidArguments(f"no `snakepit dev` of yours runs at {target.address} on this machine: {there}")
    return root


def _which(target: Target, known: Sequence[str], of: str | None) -> tuple[str | None, str | None]:
    """The pool and the capsule that are meant; None: all of them. A worker's name stands for its capsule's."""
    if of is None:
        return None, None
    if (pool := target.pool(of)) in known:
        return pool, None
    capsule = of.partition("/")[0]
    homes = [each for each in known if capsule.startswith(f"{each.partition('/')[2]}-")]
    if homes:
        return max(homes, key=len), capsule
    meant = nearest(pool, known)
    raise PoolNotFound(f"{of} is no pool of that `snakepit dev`, and no capsule: {f'did you mean {meant[0]}?' if meant else _list(known)}")


def _list(known: Sequence[str]) -> str:
    return f"it runs {', '.join(known)}"
