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

import uvloop

from snakepit import payload
from snakepit.local.frames import CallFrame, Done, FromKeeper, FromWorker, KeeperHello, Ready, Shutdown, StartWorker, WorkerStarted
from snakepit_agent.channel import WorkerChannel
from snakepit_agent.keeper import KeeperServer
from tests.bench.direct import TEXT
from tests.bench.peers import work
from tests.bench.plane import ADAPTER, HERE
from tests.bench.rounds import ROUND_SECONDS, RUN, interleave, median
from tests.bench.rows import Row, Target

IN_FLIGHT = (1, 16, 64)
AHEAD_FROM = 16
"""From so many in flight, ours must be the cheapest."""

NOTE = "ours also validates the arguments, can take back what has not started, and can interrupt what has"

Measure = Callable[[int], float]


async def rows() -> list[Row]:
    found = []
    with ExitStack() as stack:
        sides = {"ours": stack.enter_context(channel()), "Pipe": stack.enter_context(pipe()), "executor": stack.enter_context(executor())}
        for count in IN_FLIGHT:
            measures = {name: partial(asyncio.to_thread, side, count) for name, side in sides.items()}
            rounds = await interleave(f"frames, {count} in flight", measures)
            found += [_row(count, name, rounds) for name in ("Pipe", "executor")]
    return found


def _row(count: int, name: str, rounds: list[dict[str, float]]) -> Row:
    return Row(
        what=f"µs a call, agent to worker and back, {count} in flight",
        figure=median(each["ours"] for each in rounds),
        unit="µs",
        baseline=median(each[name] for each in rounds),
        against={"Pipe": "multiprocessing.Pipe", "executor": "ProcessPoolExecutor"}[name],
        value=median(each["ours"] / each[name] for each in rounds),
        target=Target("<", 1.0) if count >= AHEAD_FROM or name == "executor" else Target("≤", 3.0),
        note=NOTE if count == AHEAD_FROM and name == "Pipe" else "",
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

    def keeper_came(self, hello: KeeperHello, descriptors: list[int], *, same_processes: bool) -> None:
        for each in descriptors:
            os.close(each)
        self._server.send(StartWorker(0, "one", ADAPTER))

    def keeper_said(self, frame: FromKeeper, descriptors: list[int]) -> None:
        if isinstance(frame, WorkerStarted):
            self.channel = WorkerChannel(frame.incarnation, *descriptors, self._on_frames, lambda channel, why: None)

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

    async def measure(self, in_flight: int) -> float:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        arguments = payload.encode({"text": TEXT})
        numbers = iter(range(1, 1 << 60))
        done = 0

        def deliver(count: int) -> None:
            for _ in range(count):
                self.channel.deliver(CallFrame(next(numbers), "a-call-of-the-benchmark", "echo", arguments))

        def ended(count: int) -> None:
            nonlocal done
            done += count
            if time.perf_counter() < end:
                deliver(count)
            elif not over.done():
                over.set_result(None)

        self.ended = ended
        began = time.perf_counter()
        end = began + ROUND_SECONDS
        deliver(in_flight)
        await over
        took = time.perf_counter() - began
        return took / done * 1e6


@contextmanager
def channel() -> Iterator[Measure]:
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
        yield lambda count: asyncio.run_coroutine_threadsafe(link.measure(count), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(link.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


# ---- theirs


def _echo(connection: Connection) -> None:
    while (message := connection.recv()) is not None:
        number, text = message
        connection.send((number, work(text)))


@contextmanager
def pipe() -> Iterator[Measure]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_echo, args=(theirs,), daemon=True)
    child.start()
    theirs.close()

    def measure(in_flight: int) -> float:
        began = time.perf_counter()
        end = began + ROUND_SECONDS
        for number in range(in_flight):
            ours.send((number, TEXT))
        done = 0
        while time.perf_counter() < end:
            ours.recv()
            done += 1
            ours.send((done, TEXT))
        for _ in range(in_flight):
            ours.recv()
        return (time.perf_counter() - began) / (done + in_flight) * 1e6

    try:
        yield measure
    finally:
        ours.send(None)
        child.join(30)
        ours.close()


@contextmanager
def executor() -> Iterator[Measure]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(work, TEXT).result()

        def measure(in_flight: int) -> float:
            places = threading.Semaphore(in_flight)

            def ended(_: Future[str]) -> None:
                places.release()

            began = time.perf_counter()
            end = began + ROUND_SECONDS
            done = 0
            while time.perf_counter() < end:
                places.acquire()
                pool.submit(work, TEXT).add_done_callback(ended)
                done += 1
            for _ in range(in_flight):
                places.acquire()
            return (time.perf_counter() - began) / done * 1e6

        yield measure


if __name__ == "__main__":
    from tests.bench.__main__ import show

    show(RUN(rows()))
