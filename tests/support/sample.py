"""Adapters for the tests of workers: each does one thing that an author might."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from snakepit import Adapter, AsyncContext, Context, StoreUnavailable, tool


class Sample(Adapter):
    """Sample tools."""

    def setup(self) -> None:
        self.ready = True

    def on_session_start(self, session_id: str) -> None:
        self.session = session_id

    def teardown(self) -> None:
        if note := os.environ.get("TEARDOWN_NOTE"):
            Path(note).write_text("done")

    @tool
    def echo(self, value: object = None) -> object:
        """The value itself."""
        return value

    @tool
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @tool
    async def later(self, value: object) -> object:
        await asyncio.sleep(0)
        return value

    @tool
    def count_down(self, left: int) -> int:
        if not left:
            os._exit(3)
        return left

    @tool
    def who(self, *, ctx: Context) -> list[object]:
        return [ctx.caller.subject, list(ctx.caller.groups)]

    @tool
    def fail(self, message: str) -> None:
        raise LookupError(message)

    @tool
    def steps(self, steps: int, *, ctx: Context) -> str:
        for step in range(steps):
            ctx.progress((step + 1) / steps, f"step {step + 1}")
        return "done"

    @tool
    def count(self, to: int, *, ctx: Context) -> Iterator[int]:
        for i in range(to):
            ctx.check()
            yield i

    @tool
    def stages(self, steps: int, *, ctx: Context) -> Iterator[int]:
        """As `steps`, and a chunk after each."""
        for step in range(steps):
            ctx.progress((step + 1) / steps, f"step {step + 1}")
            time.sleep(0.2)
            yield step

    @tool
    async def count_later(self, to: int) -> AsyncIterator[int]:
        for i in range(to):
            await asyncio.sleep(0)
            yield i

    @tool
    def break_off(self) -> Iterator[int]:
        yield 1
        raise LookupError("broken off")

    @tool
    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @tool
    async def sleep_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @tool
    def spin(self, *, ctx: Context) -> None:
        while True:
            ctx.check()
            time.sleep(0.001)

    @tool
    def odd(self) -> object:
        return {"fine": 1, "odd": threading.Lock()}

    @tool
    def large(self, size: int) -> bytes:
        return b"x" * size

    @tool
    def large_stream(self) -> Iterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    @tool
    def remember(self, key: str, value: object, *, ctx: Context) -> int:
        return ctx.state.set(key, value)

    @tool
    async def recall(self, key: str, *, ctx: AsyncContext) -> Any:
        return await ctx.state.get(key)

    @tool
    def mark(self, path: str, token: str, *, ctx: Context) -> str:
        """Leave the token in a file, then write to the session's state; what the store said."""
        with Path(path).open("a") as file:
            file.write(f"{token}\n")
        try:
            ctx.state.set("marked", token)
        except StoreUnavailable as error:
            return f"not written: {error.started.name}"
        return "written"

    @tool
    def hold(self, seconds: float, *, ctx: Context) -> None:
        """Say in the session that it has begun, then take that long."""
        ctx.state.set("held", True)
        time.sleep(seconds)

    @tool
    def report(self, *, ctx: Context) -> list[Any]:
        ctx.progress(0.5, "half")
        return [ctx.session_id, dict(ctx.metadata), ctx.remaining() is not None, self.session]

    @tool
    def modules(self, names: list[str]) -> list[str]:
        return [name for name in names if name in sys.modules]

    @tool
    def process(self) -> list[int]:
        return [os.getpid(), os.getppid(), os.getsid(0)]

    @tool
    def child(self) -> int:
        """A process that outlives the call."""
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    @tool
    def daemon(self) -> int:
        """A process in a session of its own."""
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid

    @tool
    def orphan(self, seconds: float = 600) -> int:
        """A process of no parent, in a session of its own, with no environment."""
        return orphan(seconds)

    @tool
    def sockets_of_a_forked_child(self) -> int:
        """How many sockets a child made by fork holds."""
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(writer, str(len(_sockets())).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        counted = int(os.read(reader, 16))
        os.close(reader)
        os.close(writer)
        return counted

    @tool
    def sockets(self) -> int:
        return len(_sockets())

    @tool
    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    @tool
    def collector(self) -> tuple[bool, int]:
        return gc.isenabled(), gc.get_freeze_count()

    @tool
    def exit(self, code: int) -> None:
        os._exit(code)

    @tool
    def say(self, text: str) -> None:
        print(text)

    @tool
    def name(self) -> str:
        return Path("/proc/self/comm").read_text().strip()

    @tool
    def stdin(self) -> str:
        return sys.stdin.read()


def orphan(seconds: float) -> int:
    """Its pid."""
    script = f"setsid sleep {seconds} > /dev/null & echo $!"
    return int(subprocess.run(["sh", "-c", script], env={}, check=True, stdout=subprocess.PIPE).stdout)


def _sockets() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the folder's own descriptor
            continue
        if target.startswith("socket:"):
            found.append(target)
    return found


class Together(Adapter):
    """Tools that meet: each call waits until `parties` calls run."""

    thread_safe = True

    def setup(self) -> None:
        self.barrier: threading.Barrier | None = None
        self.lock = threading.Lock()

    @tool
    def meet(self, parties: int) -> int:
        with self.lock:
            self.barrier = self.barrier or threading.Barrier(parties)
        return self.barrier.wait(timeout=10)

    @tool
    async def meet_later(self) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    @tool
    def spin(self, *, ctx: Context) -> None:
        while True:
            ctx.check()
            time.sleep(0.001)

    @tool
    def count(self) -> Iterator[int]:
        yield from range(100)


class BadSetup(Adapter):
    def setup(self) -> None:
        raise RuntimeError("no model here")

    @tool
    def echo(self) -> None: ...


class EndlessSetup(Adapter):
    def setup(self) -> None:
        time.sleep(600)

    @tool
    def echo(self) -> None: ...


class NoTools(Adapter): ...


class NotAnAdapter: ...


class BadSignature(Adapter):
    @tool
    def many(self, *values: int) -> None: ...


@tool
def alone(value: int) -> int:
    """A module's own tool."""
    return value


class Sessions(Adapter):
    def setup(self) -> None:
        self.events: list[str] = []

    def on_session_start(self, session_id: str) -> None:
        self.events.append(f"start {session_id}")

    async def on_session_end(self, session_id: str) -> None:
        self.events.append(f"end {session_id}")

    @tool
    def seen(self) -> list[str]:
        return self.events


class Leaving(Adapter):
    """Hooks that mean to end a script."""

    def on_session_start(self, session_id: str) -> None:
        if session_id == "refused":
            sys.exit(3)

    def on_session_end(self, session_id: str) -> None:
        sys.exit(3)

    def on_drain(self) -> None:
        sys.exit(3)

    def teardown(self) -> None:
        Path(os.environ["TEARDOWN_NOTE"]).write_text("done")
        sys.exit(3)

    @tool
    def echo(self, value: int) -> int:
        return value
