"""What it costs to hand one call to another process and to get its result back: the agent's own channel to a worker, against a plain
`multiprocessing.Pipe` and a `ProcessPoolExecutor` that do the same work. One process works; so many calls are in flight.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import uvloop

from snakepit._ipc.control import FromKeeper, KeeperHello, Shutdown, StartWorker, WorkerStarted
from snakepit._ipc.worker import CallFrame, Done, FromWorker, Ready
from snakepit._values import payloads
from snakepit_agent.workers.channel import WorkerChannel
from snakepit_agent.workers.keeper import KeeperServer
from tests.bench.cpu import ran_seconds
from tests.bench.peers import work
from tests.bench.plane import ADAPTER, HERE
from tests.bench.rounds import ROUND_SECONDS, RUN, TEXT, interleave, median
from tests.bench.rows import Row, Target

IN_FLIGHT = (1, 16, 64)
AHEAD_FROM = 16
"""From so many in flight, ours must be the cheapest."""

AGAINST = {"pipe": "multiprocessing.Pipe", "executor": "ProcessPoolExecutor"}
NOTE = "ours also validates the arguments, can take back what has not started, and can interrupt what has"


class Cost(NamedTuple):
    """Of a call, in µs: on the clock, and of processor time at both ends together."""

    clock: float
    cpu: float


class Side(NamedTuple):
    """`run` keeps so many calls in flight for a round, and returns how many it made; `pid` is who works."""

    run: Callable[[int], int]
    pid: int

    def measure(self, in_flight: int) -> Cost:
        began, ours, theirs = time.perf_counter(), time.process_time(), ran_seconds(self.pid)
        calls = self.run(in_flight)
        cpu = time.process_time() - ours + ran_seconds(self.pid) - theirs
        return Cost((time.perf_counter() - began) / calls * 1e6, cpu / calls * 1e6)


async def rows() -> list[Row]:
    found = []
    with ExitStack() as stack:
        sides = {each.__name__: stack.enter_context(each()) for each in (channel, pipe, executor)}
        for count in IN_FLIGHT:
            measures = {name: partial(asyncio.to_thread, side.measure, count) for name, side in sides.items()}
            rounds = await interleave(f"frames, {count} in flight", measures)
            for name in AGAINST:
                found += [_row(count, name, rounds, "clock"), _row(count, name, rounds, "cpu")]
    return found


def _row(count: int, name: str, rounds: list[dict[str, Cost]], kind: str) -> Row:
    pairs = [(getattr(each["channel"], kind), getattr(each[name], kind)) for each in rounds]
    ahead = count >= AHEAD_FROM or name == "executor"
    what = "on the clock" if kind == "clock" else "CPU of both ends"
    return Row(
        what=f"a call to a worker and back, {what}, {count} in flight",
        figure=median(ours for ours, _ in pairs),
        unit="µs",
        baseline=median(theirs for _, theirs in pairs),
        against=AGAINST[name],
        value=median(ours / theirs for ours, theirs in pairs),
        target=Target("<", 1.0) if ahead else Target("≤", 3.0),
        note=NOTE if (count, name, kind) == (1, "pipe", "clock") else "",
    )


# ---- ours


class Link:
    """The agent's end, without an agent: a real keeper, one real worker, a channel between."""

    def __init__(self, folder: Path) -> None:
        self.ready = asyncio.Event()
        self.ended: Callable[[int], None] = lambda count: None
        self._folder = folder
        self._server = KeeperServer(folder, self)
        self._server.start()
        environment = {**os.environ, "PYTHONPATH": str(HERE), "SNAKEPIT_RUN_DIR": str(folder), "SNAKEPIT_LOG_LEVEL": "warning"}
        self._keeper = subprocess.Popen([sys.executable, "-m", "snakepit_worker.keeper"], env=environment, start_new_session=True)

    def keeper_came(self, hello: KeeperHello, descriptors: list[int]) -> None:
        for each in descriptors:
            os.close(each)
        self._server.send(StartWorker(0, "one", ADAPTER))

    def keeper_said(self, frame: FromKeeper, descriptors: list[int]) -> None:
        if isinstance(frame, WorkerStarted):
            self.pid = frame.pid
            self.channel = WorkerChannel(frame.incarnation, *descriptors, self._on_frames, lambda channel, why: None, lambda id_, why: None)

    def keeper_went(self) -> None:
        pass

    def _on_frames(self, channel: WorkerChannel, frames: list[FromWorker]) -> None:
        if isinstance(frames[0], Ready):
            self.ready.set()
        self.ended(sum(type(frame) is Done for frame in frames))

    async def close(self) -> None:
        self._server.send(Shutdown())
        await asyncio.to_thread(self._keeper.wait, 30)
        self.channel.close()
        self._server.stop()

    async def run(self, in_flight: int) -> int:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arguments = payloads.encode({"text": TEXT})
        numbers = iter(range(1, 1 << 60))
        done = sent = 0

        def deliver(count: int) -> None:
            nonlocal sent
            sent += count
            for _ in range(count):
                self.channel.deliver(CallFrame(next(numbers), "a-call-of-the-benchmark", "echo", arguments))

        def ended(count: int) -> None:
            nonlocal done
            done += count
            if time.perf_counter() < end:
                deliver(count)
            elif done == sent:
                over.set_result(None)

        self.ended = ended
        end = time.perf_counter() + ROUND_SECONDS
        deliver(in_flight)
        await over
        return done


@contextmanager
def channel() -> Iterator[Side]:
    """On the loop that the agent runs on."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))

    async def start() -> Link:
        link = Link(folder)
        await asyncio.wait_for(link.ready.wait(), 30)
        return link

    link = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield Side(lambda count: asyncio.run_coroutine_threadsafe(link.run(count), loop).result(), link.pid)
    finally:
        asyncio.run_coroutine_threadsafe(link.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


# ---- theirs


TOOLS = {"echo": work}


def _serve(connection: Connection) -> None:
    """The least that a worker behind a Pipe does: find the tool, call it by its arguments' names, say which call the result is of."""
    while (message := connection.recv()) is not None:
        number, tool, arguments = message
        connection.send((number, TOOLS[tool](**arguments)))


@contextmanager
def pipe() -> Iterator[Side]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs,), daemon=True)
    child.start()
    theirs.close()

    def run(in_flight: int) -> int:
        end = time.perf_counter() + ROUND_SECONDS
        for number in range(in_flight):
            ours.send((number, "echo", {"text": TEXT}))
        done = 0
        while time.perf_counter() < end:
            ours.recv()
            done += 1
            ours.send((done, "echo", {"text": TEXT}))
        for _ in range(in_flight):
            ours.recv()
        return done + in_flight

    assert child.pid is not None
    try:
        yield Side(run, child.pid)
    finally:
        ours.send(None)
        child.join(30)
        ours.close()


@contextmanager
def executor() -> Iterator[Side]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:

        def run(in_flight: int) -> int:
            places = threading.Semaphore(in_flight)

            def ended(_: Future[str]) -> None:
                places.release()

            end = time.perf_counter() + ROUND_SECONDS
            done = 0
            while time.perf_counter() < end:
                places.acquire()
                pool.submit(work, TEXT).add_done_callback(ended)
                done += 1
            for _ in range(in_flight):
                places.acquire()
            return done

        yield Side(run, pool.submit(os.getpid).result())


if __name__ == "__main__":
    from tests.bench.__main__ import show

    show(RUN(rows()))
