"""`snakepit logs`: what the workers of a running `snakepit dev` have printed."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from snakepit._names import nearest
from snakepit.cli.target import Target, with_target
from snakepit.errors import InvalidArguments, PoolNotFound, ServerUnavailable
from snakepit_local import folder


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
    """Show what the workers of a running `snakepit dev` have printed, the last MiB of each pool."""
    with _connected(target) as told:
        pool, capsule = _which(target, json.loads(told.readline()), of)

        def lines() -> Iterator[str]:
            """What is meant of those up to an empty one."""
            for line in itertools.takewhile(lambda line: line != b"\n", told):
                time, its_pool, its_capsule, text = line.decode(errors="replace").split("\t", 3)
                if pool in (None, its_pool) and capsule in (None, its_capsule):
                    yield f"{f'{time} ' if timestamps else ''}{its_capsule} | {text}"

        kept = lines()
        for line in kept if tail is None else deque(kept, tail):
            sys.stdout.write(line)
        sys.stdout.flush()
        for line in lines() if follow else ():
            sys.stdout.write(line)
            sys.stdout.flush()


@contextlib.contextmanager
def _connected(target: Target) -> Iterator[BinaryIO]:
    """To the logbook of the dev that is meant; its end is the end of what is read."""
    path = str(_root(target) / folder.LOGBOOK)
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(ConnectionResetError):
        try:
            sock.connect(path)
        except OSError as error:
            raise ServerUnavailable(f"the `snakepit dev` at {target.address} is just ending ({error.strerror})") from None
        with sock.makefile("rb") as told:
            yield told


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
