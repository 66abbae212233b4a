"""Reads what the capsules of a running `snakepit dev` have logged, from the socket of its logbook."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

import msgspec

from snakepit._names import did_you_mean
from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import LogLine
from snakepit.cli import local_runs
from snakepit.cli.target import Target
from snakepit.errors import InvalidArguments, PoolNotFound, ServerUnavailable

ANSWER_SECONDS = 10.0
"""A dev that has not said its first word by then hangs."""


@contextlib.contextmanager
def read(target: Target, of: str | None) -> Iterator[tuple[Iterator[LogLine], Iterator[LogLine]]]:
    """Two parts: the lines that are kept, and those that come until dev ends. `of`: a pool, a capsule or a worker; None: all.

    Raises InvalidArguments, PoolNotFound, ServerUnavailable.
    """
    with _connected(target) as told:
        pool, capsule = _which(target, json.loads(told.readline()), of)

        def lines() -> Iterator[LogLine]:
            for line in itertools.takewhile(lambda line: line != b"\n", told):
                _, its_pool, its_capsule, text = line.decode(errors="replace").split("\t", 3)
                if pool in (None, its_pool) and capsule in (None, its_capsule) and (found := log_lines.decode(text)) is not None:
                    yield msgspec.structs.replace(found, pool=its_pool, capsule=its_capsule)

        yield lines(), lines()


@contextlib.contextmanager
def _connected(target: Target) -> Iterator[BufferedReader]:
    """To the logbook of the dev that is meant; its end is the end of what is read."""
    path = str(_root(target) / local_runs.LOGBOOK)
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(ConnectionResetError):
        try:
            sock.connect(path)
        except OSError as error:
            raise ServerUnavailable(f"the `snakepit dev` at {target.address} is just ending ({error.strerror})") from None
        sock.settimeout(ANSWER_SECONDS)
        with sock.makefile("rb") as told:
            try:
                told.peek(1)
            except TimeoutError:
                raise ServerUnavailable(f"the `snakepit dev` at {target.address} says nothing: is it stopped, or overloaded?") from None
            sock.settimeout(None)
            yield told


def _root(target: Target) -> Path:
    known = local_runs.running()
    root = local_runs.at(target.address, known)
    if root is None:
        there = f"it runs at {', '.join(sorted(known))}: say which with --server" if known else "start it, or on a cluster use --kube"
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
    instead = did_you_mean(pool, known) or f"it runs {', '.join(known)}"
    raise PoolNotFound(f"{of} is no pool of that `snakepit dev`, and no capsule: {instead}")
