"""An adapter that says things in every way there is, also in ways that nobody should."""

import asyncio
import contextlib
import ctypes
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from snakepit import Adapter, AsyncContext, Context, tool

print("imported")


class Talking(Adapter):
    thread_safe = True

    def setup(self) -> None:
        print("set up")

    @tool
    def say(self, text: str, end: str = "\n") -> None:
        print(text, end=end)

    @tool
    def show_a_bar(self, steps: int, end: str) -> None:
        """As tqdm does: each state begins with a carriage return, and is flushed."""
        for step in range(steps + 1):
            sys.stderr.write(f"\r{step}/{steps}")
            sys.stderr.flush()
        sys.stderr.write(end)
        print("after")

    @tool
    def complain(self, text: str) -> None:
        print(text, file=sys.stderr)

    @tool
    def log(self, text: str, *, ctx: Context) -> None:
        ctx.logger.warning(text)

    @tool
    def log_an_exception(self) -> None:
        try:
            raise KeyError("missing")
        except KeyError:
            logging.getLogger("mine").exception("it went wrong")

    @tool
    def log_more(self, text: str) -> None:
        """With whatever programs add to their records, also what nobody should."""

        class Odd(float):
            """As numpy's float64."""

        more = {"user": "ada", "size": Odd(1.5), "call": "forged", "level": "forged", "half": "\ud800", "huge": 10**40, "long": "x" * 5_000}
        logging.getLogger("mine").info(text, extra=more)

    @tool
    def log_wrongly(self, text: str) -> None:
        logging.getLogger("mine").warning("%d of it", text)

    @tool
    def raise_beside(self, text: str) -> None:
        thread = threading.Thread(target=self._raise, args=(text,), name="helper")
        thread.start()
        thread.join()

    @tool
    def raise_deeply(self, text: str) -> None:
        self._raise(text)

    def _raise(self, text: str) -> None:
        raise KeyError(text)

    @tool
    async def raise_later(self, text: str) -> None:
        await asyncio.sleep(0)
        self._raise(text)

    @tool
    async def raise_at_an_await(self, text: str) -> None:
        async with asyncio.timeout(5):
            await asyncio.wait_for(asyncio.to_thread(self._raise, text), 5)

    @tool
    async def raise_in_a_stream(self, text: str) -> AsyncIterator[str]:
        yield text
        self._raise(text)

    @tool
    def doze(self, seconds: float) -> None:
        time.sleep(seconds)

    @tool
    async def say_later(self, text: str, *, ctx: AsyncContext) -> None:
        await asyncio.sleep(0)
        print(text)

    @tool
    def say_beside(self, text: str) -> None:
        thread = threading.Thread(target=print, args=(text,))
        thread.start()
        thread.join()

    @tool
    def say_in_c(self, text: str) -> None:
        libc = ctypes.CDLL(None)
        libc.puts(text.encode())
        libc.fflush(None)

    @tool
    def say_by_a_child(self, text: str) -> None:
        subprocess.run(["sh", "-c", f"echo {text} >&2"], check=True)

    @tool
    def meet_and_say(self, text: str, parties: int) -> None:
        """Several calls at once say something, none before all are there."""
        barrier: threading.Barrier = self.__dict__.setdefault("barrier", threading.Barrier(parties))
        barrier.wait(20)
        for number in range(20):
            print(f"{text} {number}")

    @tool
    def write(self, data: bytes, descriptor: int = 1) -> None:
        with contextlib.suppress(OSError):
            os.write(descriptor, data)

    @tool
    def close_everything(self, text: str) -> None:
        sys.stdout.close()
        for descriptor in (1, 2):
            os.close(descriptor)
        print(text)

    @tool
    def turn_away(self, text: str) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        print(text)

    @tool
    def dont_block(self, text: str) -> None:
        os.set_blocking(1, False)
        for number in range(2000):
            print(text, number)

    @tool
    def capture(self) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as captured:
            print("mine")
        return captured.getvalue()

    @tool
    def say_and_die(self, text: str, how: str) -> None:
        print(text)
        os.write(2, b"and without an end")
        if how == "exit":
            os._exit(3)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        ctypes.string_at(0)

    @tool
    def flood(self, lines: int) -> None:
        for number in range(lines):
            print(f"line {number} {'x' * 200}")

    @tool
    def collector(self) -> int:
        """Which process it is: to kill it, a tool is too well kept apart."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if _status(folder) == ("snakepit-logs", str(os.getppid())):
                    return int(folder.name)
        return 0


def _status(folder: Path) -> tuple[str, str]:
    fields = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    return fields["Name"], fields["PPid"]
