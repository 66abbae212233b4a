"""The small agent behind `snakepit_worker.testing`: it starts a keeper, and workers in it, and obeys nobody but the test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from snakepit._ipc.control import (
    PROTOCOL,
    AgentWelcome,
    FromKeeper,
    KeeperHello,
    Shutdown,
    SignalWorker,
    StartFailed,
    StartWorker,
    WorkerStarted,
    decode_from_keeper,
    send_control,
)
from snakepit._ipc.sockets import close_all, recv_packet
from snakepit._names import new_id
from snakepit.errors import SnakepitError, Started
from snakepit.testing import MemoryState
from snakepit.testing.doubles import ToolDoubles
from snakepit_worker.keeper import RUN_DIR_VARIABLE, SOCKET
from snakepit_worker.local_worker import WAIT_SECONDS, Heard, LocalWorker
from snakepit_worker.processes import has_ended

T = TypeVar("T")


class LocalAgent:
    """Starts a keeper and obeys nobody but the test. `stderr`: where the keeper's log goes instead of this process's."""

    def __init__(self, environment: Mapping[str, str] | None = None, protocol: int = PROTOCOL, stderr: IO[bytes] | None = None) -> None:
        self.heard = Heard()
        self.state = MemoryState()
        self.doubles = ToolDoubles()
        self.workers: list[LocalWorker] = []
        self.protocol = protocol
        self._keeper: socket.socket | None = None
        self._closed = False
        self._folder = tempfile.TemporaryDirectory(prefix="snakepit-")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(Path(self._folder.name, SOCKET)))
        self._listener.listen()
        self._listener.settimeout(WAIT_SECONDS)
        self.keeper = self._start_keeper(environment or {}, stderr)
        self.accept()

    def accept(self) -> KeeperHello:
        """The keeper dials; also again, after `drop`."""
        if self._keeper is not None:
            self._keeper.close()
        self._keeper, _ = self._listener.accept()
        self.heard = Heard()
        threading.Thread(target=self._read, args=(self._keeper, self.heard), daemon=True).start()
        hello = self.heard.wait(KeeperHello)
        self.send(AgentWelcome(self.protocol))
        return hello

    def send(self, frame: StartWorker | SignalWorker | Shutdown | AgentWelcome) -> None:
        """Say something to the keeper."""
        assert self._keeper is not None
        send_control(self._keeper, frame)

    def request(self, adapter: str, index: int = 0, **options: Any) -> str:
        """Ask for a worker; its incarnation. Options: those of `StartWorker`."""
        incarnation = new_id()
        self.send(StartWorker(index, incarnation, adapter, **options))
        return incarnation

    def start(self, adapter: str, index: int = 0, **options: Any) -> LocalWorker:
        """Start a worker and wait until its process exists. Raises SnakepitError where it can't."""
        incarnation = self.request(adapter, index, **options)

        def is_answer(frame: Any) -> bool:
            return (isinstance(frame, LocalWorker | StartFailed)) and frame.incarnation == incarnation

        answer = self.heard.wait(object, is_answer)
        if isinstance(answer, StartFailed):
            raise SnakepitError(f"{answer.stage}: {answer.type}: {answer.message}", started=Started.NO)
        assert isinstance(answer, LocalWorker)
        return answer

    def drop(self) -> None:
        """Go away, as an agent that dies."""
        assert self._keeper is not None
        self._keeper.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Be as new for other tests; the workers have ended."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()
        self.state, self.doubles = MemoryState(), ToolDoubles()

    def close(self) -> int:
        """Shut everything down; the keeper's exit code."""
        with contextlib.suppress(OSError):
            self.send(Shutdown())
        code = self.keeper.wait(WAIT_SECONDS)
        self._release()
        return code

    def _release(self) -> None:
        if self._closed:
            return
        self._closed = True
        for worker in self.workers:
            worker.close()
        if self._keeper is not None:
            self._keeper.close()
        self._listener.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start_keeper(self, environment: Mapping[str, str], stderr: IO[bytes] | None) -> subprocess.Popen[bytes]:
        own = {RUN_DIR_VARIABLE: self._folder.name, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        command = [sys.executable, "-m", "snakepit_worker.keeper"]
        return subprocess.Popen(command, env={**os.environ, **own, **environment}, stderr=stderr, start_new_session=True)

    def _read(self, keeper: socket.socket, heard: Heard) -> None:
        with contextlib.suppress(OSError):
            while (packet := recv_packet(keeper)) is not None:
                self._take(decode_from_keeper(packet.data), packet.descriptors, heard)
        heard.end()

    def _take(self, frame: FromKeeper, descriptors: list[int], heard: Heard) -> None:
        heard.add(frame)
        if isinstance(frame, WorkerStarted):
            self.workers.append(LocalWorker(frame, descriptors, self))
            heard.add(self.workers[-1])
        else:
            close_all(descriptors)


def wait_until(condition: Callable[[], T], timeout: float = WAIT_SECONDS, every: float = 0.01) -> T:
    """For what sends no event: look again and again. Raises TimeoutError."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {timeout} s")
        time.sleep(every)
    return value


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return not has_ended(pid)
