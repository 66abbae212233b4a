"""The gateway of `snakepit dev`, a child process: where it listens, and its life. It is started again when it dies, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from snakepit._extras import WHOLE
from snakepit._lines import lines_of
from snakepit._retry import Backoff
from snakepit._wire.targets import parse_target
from snakepit._wire.trust import OFF
from snakepit.errors import InvalidArguments, ServerUnavailable
from snakepit_local.processes import end_of

PACKAGE = "snakepit_gateway"
ADDRESS = "127.0.0.1:7880"
MISSING = f"the gateway isn't installed. {WHOLE}"

MOST_DEATHS = 3
"""In a row; then it is left dead."""

STEADY_SECONDS = 60.0
"""What lived so long has not died in a row."""

PAUSES = Backoff(0.1, 10.0)
"""Before it is started again."""

STOP_SECONDS = 2.0
LAST_LINES = 20

OnLine = Callable[[str], bool]
"""Takes a line of its output; False: that was no record of its log."""
Say = Callable[[str, str], None]


def bind(address: str, option: str) -> socket.socket:
    """A socket at that address, which doesn't listen yet. Raises ServerUnavailable."""
    host, port = parse_target(address)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        first = "end what listens there (another `snakepit dev`?), or " if error.errno == errno.EADDRINUSE else ""
        sentence = f"port {port} of {host} can't be listened on ({error.strerror}): {first}choose another with {option}"
        raise ServerUnavailable(sentence) from error
    return listener


@dataclass(frozen=True)
class Door:
    """Where the gateway listens, if it does, and what there is to say about that."""

    listener: socket.socket | None = None
    remark: str = ""

    @property
    def url(self) -> str:
        """For people on this machine; empty: there is none."""
        if self.listener is None:
            return ""
        host, port = self.listener.getsockname()[:2]
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def open_door(wanted: str | None) -> Door:
    """Without a wish it is at ADDRESS, or at any other free port where that is taken: two devs on a machine are nothing special.

    Raises InvalidArguments, ServerUnavailable: a wish that can't be fulfilled.
    """
    if wanted == "off":
        return Door()
    if find_spec(PACKAGE) is None:
        if wanted is not None:
            raise InvalidArguments(f"--gateway {wanted}: {MISSING}")
        return Door(remark=f"no console, no HTTP, no MCP: {MISSING}")
    remark = ""
    try:
        listener = bind(wanted or ADDRESS, "--gateway")
    except ServerUnavailable:
        if wanted is not None:
            raise
        listener = bind("127.0.0.1:0", "--gateway")
        remark = f"port {parse_target(ADDRESS)[1]} is taken, so the console has another one; --gateway HOST:PORT names one"
    listener.listen()
    return Door(listener, remark)


class Gateway:
    """`run` it; cancelled, it ends the process. The socket is this process's, so no request is refused while another gateway starts."""

    def __init__(self, listener: socket.socket, server: str, token_file: Path | None, on_line: OnLine, say: Say) -> None:
        self._listener = listener
        self._environment = self._own(server, token_file)
        self._on_line = on_line
        self._say = say
        self._said: deque[str] = deque(maxlen=LAST_LINES)

    def _own(self, server: str, token_file: Path | None) -> Mapping[str, str]:
        return {
            "SNAKEPIT_LOG_LEVEL": "warning",
            **os.environ,
            "SNAKEPIT_LOG_FORMAT": "json",
            "SNAKEPIT_GATEWAY_DEV": "on",
            "SNAKEPIT_GATEWAY_LISTEN": f"fd://{self._listener.fileno()}",
            "SNAKEPIT_SERVER": server,
            "SNAKEPIT_CA_FILE": OFF,
            "SNAKEPIT_TOKEN_FILE": str(token_file or ""),
        }

    async def run(self) -> None:
        """Returns when it has died too often."""
        deaths = 0
        try:
            while True:
                began = time.monotonic()
                how = await self._live()
                if time.monotonic() - began > STEADY_SECONDS:
                    deaths = 0
                deaths += 1
                if deaths == MOST_DEATHS:
                    break
                self._say(f"{how}, and is started again", "yellow")
                await asyncio.sleep(PAUSES.seconds(deaths))
            words = "\n".join([*self._said])
            again = "start `snakepit dev` again for a new one, or with --gateway off for none"
            self._say(f"{how}, {deaths} times in a row, and stays dead: {again}; the pools go on\n{words}".rstrip(), "red")
        finally:
            self._listener.close()

    async def _live(self) -> str:
        """One process, from start to end; how it ended."""
        self._said.clear()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), PACKAGE),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=[self._listener.fileno()],
            start_new_session=True,
        )
        try:
            await self._read(process)
            return end_of("gateway", await process.wait())
        finally:
            await _end(process)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in lines_of(process.stdout):
            text = line.rstrip()
            if text and not self._on_line(text):
                self._said.append(text)


async def _end(process: asyncio.subprocess.Process) -> None:
    """In good order, which it has little time for."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
