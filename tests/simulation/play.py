"""Plays one seed: the product with its edges replaced (clock, chance, processes, sockets), so that the seed determines all of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

from simulation.account import Account
from simulation.contents import MESSAGE_BYTES, PIECE_BYTES, WINDOW_BYTES
from simulation.lanes import SimulatedBulk, SimulatedLane
from simulation.network import Channel
from simulation.world import World

from snakepit import _names as names
from snakepit._wire import bulk_calls, dial, trust
from snakepit._wire.window import Window
from snakepit_agent import agent as agent_capsule
from snakepit_agent.link import bulk as agent_bulk
from snakepit_agent.workers import workers as agent_workers
from snakepit_control_plane.servers import bulk, links, offers
from support.virtual_time import VirtualLoop

LOGGERS = ("snakepit", "snakepit_agent", "snakepit_control_plane")


AUTHORS = "a worker can't start"
"""What its author has to know; here, it was killed."""


class Failed(AssertionError):
    """`trace`: what happened before, in order, with the times."""

    def __init__(self, seed: int, problem: str, world: World) -> None:
        super().__init__(f"seed {seed}: {problem}")
        self.problem, self.world = problem, world
        self.trace = [str(world.plan), *(f"{at:.4f} {what}" for at, what in world.account.trace)]


class _Errors(logging.Handler):
    """What the product logs as an error is one."""

    def __init__(self, account: Account) -> None:
        super().__init__(logging.ERROR)
        self._account = account

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(AUTHORS):
            return
        self._account.problems.append(self.format(record))


@contextlib.contextmanager
def _listening(account: Account) -> Iterator[None]:
    handler = _Errors(account)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
        log.addHandler(handler)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: account.problems.append(f"{context}"))
    try:
        yield
    finally:
        for log, level in zip(loggers, before, strict=True):
            log.setLevel(level)
            log.removeHandler(handler)


async def _not_tls(*_: object) -> None:
    """In place of a look at a port that doesn't exist."""


@contextlib.contextmanager
def edges(world: World, seed: int) -> Iterator[None]:
    network, ids = world.network, itertools.count(1)
    aio = SimpleNamespace(Channel=Channel, insecure_channel=lambda address, options: Channel(network, address))
    replaced = [
        (time, "monotonic", asyncio.get_running_loop().time),
        (names, "os", SimpleNamespace(urandom=lambda count: next(ids).to_bytes(count, "big"))),
        (names, "_random", SimpleNamespace(getrandbits=lambda _: next(ids))),
        (trust, "grpc", SimpleNamespace(aio=aio)),
        (trust.Trust, "explain", _not_tls),
        (dial, "link_pb2_grpc", SimpleNamespace(LinkServiceStub=lambda channel: channel)),
        (dial, "resolve", network.resolve),
        (agent_workers, "WorkerChannel", lambda _incarnation, pid, _reader, _outbox, hear, *_: world.descriptors[pid].attach(hear)),
        (agent_workers, "close_all", lambda _descriptors: None),
        (agent_capsule, "HELD_TICK_SECONDS", 0.02),
        (agent_capsule, "IDLE_TICK_SECONDS", 0.25),
        (dial, "dial", network.dial),
        (dial, "Lane", SimulatedLane),
        (links, "Lane", SimulatedLane),
        (bulk_calls, "dial", network.dial),
        (bulk_calls, "Bulk", SimulatedBulk),
        (bulk, "Bulk", SimulatedBulk),
        (bulk_calls, "WRITTEN_PIECE_BYTES", PIECE_BYTES),
        (Window.__init__, "__defaults__", (WINDOW_BYTES,)),
        (offers, "WINDOW_BYTES", WINDOW_BYTES),
        (agent_bulk, "MESSAGE_BYTES", MESSAGE_BYTES),
        (agent_capsule, "version", lambda _name: "simulated"),
    ]
    with contextlib.ExitStack() as stack:
        for target, name, value in replaced:
            stack.enter_context(patch.object(target, name, value))
        random.seed(seed)
        yield


async def _play(seed: int) -> World:
    world = World(seed)
    with edges(world, seed), _listening(world.account):
        try:
            await world.run()
        except AssertionError as error:
            raise Failed(seed, str(error), world) from error
    return world


def play(seed: int) -> World:
    """Raises Failed."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_play(seed))
