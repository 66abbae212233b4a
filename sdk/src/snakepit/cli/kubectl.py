"""Runs kubectl, by the user's own login: what it says, in time and within bounds, and that none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable

from snakepit.cli.config import Kube
from snakepit.errors import ServerUnavailable

LOGIN_SECONDS = 300.0
"""kubectl may ask a person to log in."""

END_SECONDS = 5.0

PATIENCE_SECONDS = 2.0
"""A kubectl that runs for longer may be asking for something: what it says on standard error is shown from then on."""

MOST_BYTES = 64 * 1024 * 1024
"""Of what kubectl lists: some thousand pools with all of their status."""

_KEPT_BYTES = 8192


class Kubectl:
    """A kubectl that runs."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.output = process.stdout
        self._errors = process.stderr
        self._kept = self._unshown = b""
        self._is_shown = False
        self._patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._show)
        self._listening = asyncio.create_task(self._listen(), name="kubectl's errors")

    async def last(self) -> str:
        """The last line that kubectl wrote on standard error, without its own `error:`. It has ended, or soon does."""
        await asyncio.wait((self._listening,), timeout=PATIENCE_SECONDS)
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ").removeprefix("Error from server ") if lines else ""

    def hush(self) -> None:
        """Show no more of what kubectl says."""
        self._patience.cancel()
        self._is_shown = False

    async def end(self) -> None:
        """End kubectl, whatever it does now."""
        self.hush()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.process.communicate()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def _listen(self) -> None:
        while data := await self._errors.read(4096):
            self._kept = (self._kept + data)[-_KEPT_BYTES:]
            self._unshown = (self._unshown + data)[-_KEPT_BYTES:]
            if self._is_shown:
                self._show()

    def _show(self) -> None:
        self._is_shown = True
        sys.stderr.write(self._unshown.decode(errors="replace"))
        sys.stderr.flush()
        self._unshown = b""


def program(kube: Kube) -> list[str]:
    """The words that a command line of kubectl begins with. Raises ServerUnavailable where there is none."""
    found = shutil.which("kubectl")
    if found is None:
        raise ServerUnavailable("there is no kubectl on the PATH, which --kube needs: install it, or give the address with --server")
    return [found, *(["--context", kube.context] if kube.context else [])]


async def everywhere(ask: Callable[..., Awaitable[tuple[bytes, str]]], namespace: str | None) -> tuple[bytes, str]:
    """Ask about all namespaces, or about one where the login may not look into all; None: kubectl's own. `ask` takes the words for it."""
    found, problem = await ask("--all-namespaces")
    if "forbidden" in problem.lower():
        return await ask(*(["-n", namespace] if namespace else []))
    return found, problem


async def asked(argv: list[str], seconds: float = LOGIN_SECONDS) -> tuple[bytes, str]:
    """Run kubectl to its end. Returns its output and, where something went wrong, what, in one line."""
    async with started(argv) as kubectl:
        try:
            async with asyncio.timeout(seconds):
                text = await _read(kubectl.output)
                if len(text) > MOST_BYTES:
                    return b"", f"it says more than {MOST_BYTES >> 20} MiB"
                code = await kubectl.process.wait()
        except TimeoutError:
            return b"", f"it has not answered for {seconds:.0f} s"
        return text, (await kubectl.last() or f"status {code}") if code else ""


async def _read(output: asyncio.StreamReader) -> bytes:
    """All of it, or a little more than MOST_BYTES."""
    text = bytearray()
    while (data := await output.read(65536)) and len(text) <= MOST_BYTES:
        text += data
    return bytes(text)


@contextlib.asynccontextmanager
async def started(argv: list[str]) -> AsyncIterator[Kubectl]:
    """Start a kubectl that ends with the block. It may ask at the terminal, but never eats what is piped to us."""
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise ServerUnavailable(f"{argv[0]} can't be run: {error.strerror}") from error
    kubectl = Kubectl(process)
    try:
        yield kubectl
    finally:
        await kubectl.end()
