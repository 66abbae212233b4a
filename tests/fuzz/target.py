"""What a target is: a function of bytes, which may raise what its parser says that it raises, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

TARGETS: dict[str, Target] = {}

MOST_BYTES = 64 * 1024
"""Of one input; bounds on what is larger have tests of their own."""

MOST_SECONDS = 3.0
"""Of the processor, for one input. The slowest, an alias bomb, takes half a second until it has been refused."""


@dataclass(frozen=True)
class Target:
    """`allowed`: how the parser says no."""

    name: str
    parse: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]

    def __call__(self, data: bytes) -> None:
        began = time.process_time()
        with contextlib.suppress(*self.allowed):
            self.parse(data)
        assert time.process_time() - began < MOST_SECONDS, "it takes too long"


def target(*allowed: type[Exception]) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    """Makes a target of a function, which has its name."""

    def register(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[parse.__name__] = Target(parse.__name__, parse, allowed)
        return parse

    return register


def until_done(work: Coroutine[Any, Any, object], make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
    """Runs it in a loop of the targets' own; what a callback raises is raised here."""
    loop, problems = _loop(make)
    problems.clear()
    loop.run_until_complete(work)
    if problems:
        raise problems[0]


@cache
def _loop(make: Callable[[], asyncio.AbstractEventLoop]) -> tuple[asyncio.AbstractEventLoop, list[Exception]]:
    loop, problems = make(), []

    def keep(_: object, context: dict[str, Any]) -> None:
        problems.append(context.get("exception") or AssertionError(context["message"]))

    loop.set_exception_handler(keep)
    return loop, problems


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    _loop(asyncio.new_event_loop)  # It has some of its own.
    before = _lowest()
    yield
    assert _lowest() == before, "a descriptor is left"


class _Failures(logging.Handler):
    """An exception that our own code has logged is a fault of ours, and no word of the worker's."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            raise record.exc_info[1]


@contextlib.contextmanager
def no_failure_logged(logger: str) -> Iterator[None]:
    handler = _Failures()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(logger).removeHandler(handler)


def _lowest() -> int:
    free = os.dup(0)
    os.close(free)
    return free


def cut(data: bytes, least: int = 0) -> list[bytes]:
    """The data in pieces, each as long as the byte before it says; the last one has the rest."""
    pieces = []
    while data:
        size = max(data[0], least)
        pieces.append(data[1 : 1 + size])
        data = data[1 + size :]
    return pieces
