"""An adapter whose tools wait in every way that Python knows, and whose streams say that they were closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from snakepit import Adapter, AsyncContext, Context, tool


def _lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _condition() -> None:
    condition = threading.Condition()
    with condition:
        condition.wait()


def _child() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        child.wait()
    finally:
        child.kill()


def _select() -> None:
    reader, _writer = socket.socketpair()
    select.select([reader], [], [])


def _recv() -> None:
    reader, _writer = socket.socketpair()
    reader.recv(1)


def _accept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.accept()


def _pipe() -> None:
    reader, _writer = os.pipe()
    os.read(reader, 1)


def _input() -> None:
    reader, _writer = os.pipe()
    sys.stdin = os.fdopen(reader)
    input()


def _thread() -> None:
    thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
    thread.start()
    thread.join()


def _future() -> None:
    concurrent.futures.Future[None]().result()


def _loop() -> None:
    while True:
        pass


def _hold(seconds: float) -> None:
    """A foreign library that doesn't let go of the interpreter's lock."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


WAITS: dict[str, Callable[[], object]] = {
    "time.sleep": lambda: time.sleep(600),
    "lock.acquire": _lock,
    "queue.get": lambda: queue.Queue[None]().get(),
    "simple queue.get": lambda: queue.SimpleQueue[None]().get(),
    "event.wait": lambda: threading.Event().wait(),
    "condition.wait": _condition,
    "subprocess.wait": _child,
    "select": _select,
    "socket.recv": _recv,
    "socket.accept": _accept,
    "os.read": _pipe,
    "input": _input,
    "thread.join": _thread,
    "future.result": _future,
    "a loop of Python": _loop,
}


class Waiting(Adapter):
    thread_safe = True

    def setup(self) -> None:
        self.notes: list[str] = []

    @tool
    def wait(self, how: str, *, ctx: Context) -> None:
        try:
            ctx.progress(0.0, "begun")
            WAITS[how]()
        finally:
            self.notes.append(how)

    @tool
    def swallows(self, *, ctx: Context) -> str:
        """As an interpreter in the interpreter does: what a cell raises is its output."""
        ctx.progress(0.0, "begun")
        try:
            _loop()
        except BaseException as error:
            return repr(error)
        return "never"

    @tool
    def translates(self, *, ctx: Context) -> None:
        """As a library does whose own C has seen to the signal."""
        ctx.progress(0.0, "begun")
        try:
            _loop()
        except BaseException:
            raise RuntimeError("query interrupted") from None

    @tool
    def holds_the_interpreter(self, seconds: float = 600, *, ctx: Context) -> str:
        """In one step of C that lets no other thread run."""
        ctx.progress(0.0, "begun")
        _hold(seconds)
        return "held"

    @tool
    def counts_in_c(self) -> int:
        """In one step of C that ends for no signal either."""
        return sum(range(10**12))

    @tool
    def leaves_a_thread_that_holds_the_interpreter(self) -> None:
        threading.Timer(0.1, _hold, (600,)).start()

    @tool
    def clings(self, *, ctx: Context) -> None:
        """Swallows every interrupt."""
        ctx.progress(0.0, "begun")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                continue

    @tool
    async def waits_later(self, *, ctx: AsyncContext) -> None:
        try:
            ctx.progress(0.0, "begun")
            await asyncio.sleep(600)
        finally:
            self.notes.append("later")

    @tool
    def cleans_up(self, *, ctx: Context) -> None:
        """Talks to the agent while it ends."""
        try:
            ctx.progress(0.0, "begun")
            _loop()
        finally:
            ctx.state.set("clean", True)
            self.notes.append("cleaned")

    @tool
    def trickle(self) -> Iterator[int]:
        try:
            yield 0
            _loop()
        finally:
            self.notes.append("trickle")

    @tool
    def pour(self) -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            self.notes.append("pour")

    @tool
    async def trickle_later(self) -> AsyncIterator[int]:
        try:
            yield 0
            await asyncio.sleep(600)
        finally:
            self.notes.append("trickle_later")

    @tool
    async def pour_later(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 0
        finally:
            self.notes.append("pour_later")

    @tool
    def talk(self, *, ctx: Context) -> None:
        """All the time, so that an interrupt comes while it does."""
        while True:
            ctx.progress(0.0, "talking")

    @tool
    def noted(self) -> list[str]:
        return self.notes

    @tool
    def echo(self, value: int = 0) -> int:
        return value
