"""The adapter of the soak: every run of a tool leaves one line, its token, in a file of its worker's."""

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from snakepit import Adapter, AsyncContext, Context, tool


class Soak(Adapter):
    """Tools that are quick, slow, failing, streaming, large, and that keep state."""

    def setup(self) -> None:
        path = Path(os.environ["SOAK_FOLDER"]) / f"worker-{os.getpid()}.log"
        self.hoard: list[bytearray] = []
        self.owner = ""
        self.log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)

    def began(self, token: str) -> None:
        os.write(self.log, f"{token}\n".encode())

    @tool
    def quick(self, token: str) -> str:
        self.began(token)
        return token

    @tool
    def relay(self, token: str, inner: str, ctx: Context) -> str:
        """Calls another tool of the pool, in a slot of its own."""
        self.began(token)
        return ctx.call_tool("quick", {"token": inner})

    @tool
    def slow(self, token: str, seconds: float, ctx: Context) -> str:
        self.began(token)
        for _ in range(int(seconds / 0.01)):
            ctx.check()
            time.sleep(0.01)
        return token

    @tool
    def failing(self, token: str) -> str:
        self.began(token)
        raise ValueError(token)

    @tool
    def large(self, token: str, data: bytes) -> bytes:
        self.began(token)
        return data

    @tool
    def numbers(self, token: str, to: int, size: int, ctx: Context) -> Iterator[dict[str, object]]:
        self.began(token)
        for number in range(to):
            ctx.check()
            yield {"number": number, "padding": "x" * size}

    @tool
    async def add(self, token: str, ctx: AsyncContext) -> int:
        """One more in the session's counter. Two at a time would lose one: the session is ordered."""
        self.began(token)
        count = int(await ctx.state.get("count") or 0) + 1
        await ctx.state.set("count", count)
        return count

    # ---- what authors' code should not do

    @tool
    def stubborn(self, token: str) -> None:
        """Swallows whatever would end it."""
        self.began(token)
        while True:
            try:
                time.sleep(60)
            except BaseException:
                continue

    @tool
    def c_loop(self, token: str) -> None:
        """Never comes back to the interpreter, and never lets go of its lock."""
        self.began(token)
        sum(itertools.repeat(1))

    @tool
    def hog(self, token: str, mib: int) -> int:
        """A leak."""
        self.began(token)
        self.hoard.append(bytearray(os.urandom(1024)) * (mib * 1024))
        return mib

    @tool
    def child(self, token: str) -> int:
        """A process in a session of its own, which nobody ends."""
        self.began(token)
        return subprocess.Popen(["sleep", "3600"], start_new_session=True).pid

    @tool
    def mine(self, token: str, ctx: Context) -> str:
        """In a pool with worker.exclusive: nobody else has been here."""
        self.began(token)
        if self.owner not in ("", ctx.session_id):
            raise ValueError(f"session {ctx.session_id} has the worker that was {self.owner}'s")
        self.owner = ctx.session_id or ""
        return token
