"""The demo's place on this machine: `snakepit dev`, in-memory store, no Redis, no cluster; and the proof that it leaves no process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Self

from transcript import Transcript

import snakepit

MARK = "SNAKEPIT_DEMO"
STOP_SECONDS = 30
GONE_SECONDS = 2
POOL_FILE = Path(__file__).resolve().parent.parent / "pool.yaml"


class Laptop:
    """Starts and stops `snakepit dev`. Every process that comes of it carries a mark in its environment."""

    def __init__(self) -> None:
        self.mark = f"{MARK}={secrets.token_hex(8)}"
        self.server = f"127.0.0.1:{_free_port()}"
        self._door = f"127.0.0.1:{_free_port()}"
        self.gateway = f"http://{self._door}"
        self.log = Path(tempfile.mkstemp(prefix="snakepit-demo-", suffix=".log")[1])
        self._dev: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        # On a leash: it dies with the demo, however that ends.
        leash = [sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), "snakepit.cli"]
        argv = [*leash, "dev", str(POOL_FILE), "--listen", self.server, "--gateway", self._door]
        name, _, value = self.mark.partition("=")
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops it in order.
            self._dev = await asyncio.create_subprocess_exec(
                *argv, stdout=log, stderr=log, env={**os.environ, name: value}, start_new_session=True
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._dev is not None and self._dev.returncode is None:
            await self.stop()
        self.log.unlink()

    async def kill_worker(self, worker: snakepit.WorkerInfo) -> None:
        os.kill(worker.pid, signal.SIGKILL)

    def kill(self) -> None:
        """kill -9 of `snakepit dev`: what it has started dies with it."""
        if self._dev is not None and self._dev.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._dev.kill()

    async def stop(self) -> int:
        """Ask `snakepit dev` to end, as Ctrl-C does; a second Ctrl-C after a while. Returns its exit code."""
        assert self._dev is not None
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                self._dev.send_signal(signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS / 2):
                    return await self._dev.wait()
        self.kill()
        return await self._dev.wait()

    def processes(self) -> list[int]:
        """Every process that came of `snakepit dev` and is still there."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and entry.name != str(os.getpid()):
                with contextlib.suppress(OSError):
                    if self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    async def show_clean_stop(self, out: Transcript) -> None:
        out.heading("A clean stop")
        before = len(self.processes())
        code = await self.stop()
        left = await self._gone()
        out.expect(code in (0, 130), f"snakepit dev ended with {code}")
        out.expect(before > 0 and not left, f"{before} processes ran, {len(left)} are left")

    async def _gone(self) -> list[int]:
        """What is left once the last of them has had a moment to be reaped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                while self.processes():
                    await asyncio.sleep(0.01)
        return self.processes()

    def last_words(self) -> str:
        """The end of what `snakepit dev` said, for when something went wrong."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:]) if self.log.exists() else ""


def _free_port() -> int:
    """Below those that Linux gives to whoever asks for any: nobody is given it before `snakepit dev` listens."""
    while True:
        port = 10000 + secrets.randbelow(20000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
