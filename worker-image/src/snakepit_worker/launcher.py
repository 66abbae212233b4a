"""Makes worker processes for the keeper: by fork from a zygote, or as a fresh interpreter.

It answers each `StartWorker` exactly once, through the `LaunchEvents`: launched, or failed. It never waits.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Protocol

from snakepit._ipc.control import StartFailed, StartWorker
from snakepit._ipc.sockets import FramingError, Packet, close_all, packet_pair, recv_packet
from snakepit._names import new_id
from snakepit._values.strings import clipped
from snakepit_worker import starting
from snakepit_worker.collector import Collector
from snakepit_worker.processes import signal_process
from snakepit_worker.starting import Forked, Launch, MustSpawn, NotForked

logger = logging.getLogger("snakepit.keeper")
ZygoteKey = tuple[str, tuple[tuple[str, str], ...]]
MUST_SPAWN = (
    "which a fork would break, so each worker is a fresh interpreter, slower to start and with all memory of its own: "
    "do that in setup() instead, or set worker.startup: spawn"
)
MAX_ZYGOTES = 4
"""A capsule has one adapter; more zygotes than this are of settings that have passed. The oldest goes."""


class LaunchEvents(Protocol):
    """Who is told, and who watches the zygotes' sockets."""

    def zygote_started(self, pid: int) -> None: ...

    def launched(self, launch: Launch, pid: int) -> None: ...

    def failed(self, failure: StartFailed) -> None: ...

    def watch(self, sock: socket.socket, wake: Callable[[], object]) -> None: ...

    def unwatch(self, sock: socket.socket) -> None: ...

    @property
    def collector(self) -> Collector: ...


class ZygoteHandle:
    """The keeper's view of a zygote: the parked process, and the launches that it was asked for."""

    def __init__(self, key: ZygoteKey, launcher: Launcher) -> None:
        self.key = key
        self.socket, theirs = packet_pair()
        self._launcher = launcher
        self._pending: dict[str, Launch] = {}
        self._failure: NotForked | None = None
        self._retired = False
        self._distrusted = False
        self._reads = True
        self.is_over = False
        self._log = new_id()
        with theirs:
            try:
                self.pid = self._start(theirs)
            except OSError:
                self._close()
                raise
        launcher.events.zygote_started(self.pid)
        launcher.events.watch(self.socket, self.read)

    def _start(self, theirs: socket.socket) -> int:
        sink = self._launcher.events.collector.open(self._log, "zygote")
        try:
            arguments = [str(theirs.fileno()), str(os.getpid())]
            return starting.spawn("snakepit_worker.zygote", arguments, dict(self.key[1]), [theirs.fileno()], sink.output)
        finally:
            close_all(sink)

    def _close(self) -> None:
        self.socket.close()
        self._launcher.events.collector.close(self._log)

    def request(self, launch: Launch) -> None:
        """Ask for a fork."""
        try:
            starting.request(self.socket, launch)
        except OSError as error:
            self._launcher.fail(launch, "fork", type(error).__name__, f"the zygote takes no more requests: {error}")
            return
        self._pending[launch.start.incarnation] = launch

    def holds(self, incarnation: str) -> bool:
        """Is the worker asked for, and not there yet?"""
        return incarnation in self._pending

    def read(self) -> bool:
        """The next answer; False: none is there. Its end is told by its wait status, not here."""
        try:
            packet = self._receive()
            if packet is not None:
                self._take(starting.decode_reply(packet.data))
                return True
            self._read_no_more()
        except BlockingIOError:
            pass
        except (OSError, FramingError) as error:
            self._distrust(f"said what is no answer: {error}")
            return True
        return False

    def _read_no_more(self) -> None:
        if self._reads:
            self._reads = False
            self._launcher.events.unwatch(self.socket)

    def _receive(self) -> Packet | None:
        try:
            packet = recv_packet(self.socket, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # It has ended without reading all that it was asked. What it said before is behind this.
            packet = recv_packet(self.socket, socket.MSG_DONTWAIT)
        if packet is not None:
            close_all(packet.descriptors)
        return packet

    def _take(self, answer: starting.FromZygote) -> None:
        if self._distrusted:
            return
        launch = self._pending.pop(answer.incarnation, None)
        if launch is None:
            self._distrust(f"answered for a worker that it was not asked for: {answer!r:.200}")
            return
        match answer:
            case Forked():
                self._launcher.events.launched(launch, answer.pid)
            case NotForked():
                self._fail(launch, answer)
            case MustSpawn():
                self._give_up(launch, f"{clipped(answer.reason, starting.MOST_REASON)}, {MUST_SPAWN}")
        self._end_if_retired()

    def _distrust(self, what: str) -> None:
        """Its import runs the author's code, which has its sockets too. What it says is of no more use, and is told once."""
        if not self._distrusted:
            self._distrusted = True
            logger.warning("the process that imports %s %s", self.key[0], what)
            self._failure = self._failure or NotForked("", "import", "ZygoteBroken", f"the process that imports {self.key[0]} {what}")
            self._launcher.end(self)

    def retire(self) -> None:
        """Its code has passed: answer what is asked for already, then end."""
        self._retired = True
        self._end_if_retired()

    def _end_if_retired(self) -> None:
        if self._retired and not self._pending:
            self._launcher.end(self)

    def _give_up(self, launch: Launch, note: str) -> None:
        """No fork will come of it: its memory is better used elsewhere."""
        logger.warning("%s", note)
        launches, self._pending = [launch, *self._pending.values()], {}
        self._launcher.never_fork(self, note)
        for each in launches:
            self._launcher.spawn(each, note)

    def _fail(self, launch: Launch, answer: NotForked) -> None:
        self._launcher.fail(launch, answer.stage, answer.type, answer.message, answer.traceback)
        if answer.stage != "fork":
            self._failure = answer
            self._launcher.end(self)

    def ended(self, how: str) -> None:
        """The process is reaped: read what it had said, fail what it had not answered."""
        self.is_over = True
        while self._reads and self._pending and self.read():
            pass
        why = self._failure or NotForked("", "import", "ZygoteDied", f"the process that imports {self.key[0]} {how}")
        for launch in self._pending.values():
            self._launcher.fail(launch, why.stage, why.type, why.message, why.traceback)
        self._read_no_more()
        self._close()


class Launcher:
    """All of the keeper's zygotes."""

    def __init__(self, events: LaunchEvents) -> None:
        self.events = events
        self._zygotes: dict[ZygoteKey, ZygoteHandle] = {}
        self._ending: dict[int, ZygoteHandle] = {}
        self._never_fork: dict[ZygoteKey, str] = {}

    def start(self, start: StartWorker) -> None:
        """Make the process that the agent asks for."""
        try:
            launch = self._launch(start)
        except OSError as error:
            self.events.failed(StartFailed(start.index, start.incarnation, "fork", type(error).__name__, str(error)))
            return
        note = self._never_fork.get(_key(start), "")
        if start.startup == "spawn" or note:
            self.spawn(launch, note)
        else:
            self._fork(launch)

    def _launch(self, start: StartWorker) -> Launch:
        sink = self.events.collector.open(start.incarnation, "worker", start.name or f"worker/{start.index}")
        try:
            return Launch(start, sink)
        except OSError:
            close_all(sink)
            raise

    def spawn(self, launch: Launch, note: str = "") -> None:
        """A fresh interpreter; `note`: why it is one, though a fork was asked for."""
        launch.note = note
        inherited = list(launch.ends)
        try:
            arguments = [*map(str, inherited), str(os.getpid())]
            pid = starting.spawn("snakepit_worker.worker", arguments, launch.start.env, inherited, launch.ends.output)
        except OSError as error:
            self.fail(launch, "fork", type(error).__name__, str(error))
        else:
            self.events.launched(launch, pid)

    def fail(self, launch: Launch, stage: str, type: str, message: str, traceback: str = "") -> None:
        """Tell that no process could be made, and close what it would have had."""
        launch.abandon()
        self.events.failed(launch.failed(stage, type, message, traceback))

    def kill_pending(self, incarnation: str) -> bool:
        """A worker that has no process yet is stopped by killing its zygote: the import hangs, or there would be one."""
        for zygote in self._all():
            if zygote.holds(incarnation):
                self.end(zygote)
                return True
        return False

    def never_fork(self, zygote: ZygoteHandle, note: str) -> None:
        """For as long as this agent is there, and the code is what it is."""
        if self._zygotes.get(zygote.key) is zygote:
            if len(self._never_fork) >= MAX_ZYGOTES:
                del self._never_fork[next(iter(self._never_fork))]
            self._never_fork[zygote.key] = note
        self.end(zygote)

    def end_all(self) -> None:
        """The agent has gone: no zygote is of use any more."""
        self._never_fork.clear()
        for zygote in list(self._zygotes.values()):
            self.end(zygote)

    def renew(self) -> None:
        """Whoever is asked for from now on imports the adapter anew."""
        self._never_fork.clear()
        retired = list(self._zygotes.values())
        self._zygotes.clear()
        for zygote in retired:
            self._ending[zygote.pid] = zygote
            zygote.retire()

    def reaped(self, pid: int, how: str) -> bool:
        """A process was reaped; True: it was a zygote."""
        zygote = next((each for each in self._all() if each.pid == pid), None)
        if zygote is None:
            return False
        zygote.ended(how)
        self._ending.pop(pid, None)
        if self._zygotes.get(zygote.key) is zygote:
            del self._zygotes[zygote.key]
        return True

    @property
    def pids(self) -> list[int]:
        """The process ids of the zygotes."""
        return [each.pid for each in self._all()]

    def is_empty(self) -> bool:
        """Are all zygotes gone?"""
        return not self._zygotes and not self._ending

    def _all(self) -> list[ZygoteHandle]:
        return [*self._zygotes.values(), *self._ending.values()]

    def _fork(self, launch: Launch) -> None:
        try:
            zygote = self._zygote(_key(launch.start))
        except OSError as error:
            self.fail(launch, "fork", type(error).__name__, str(error))
        else:
            zygote.request(launch)

    def _zygote(self, key: ZygoteKey) -> ZygoteHandle:
        if key not in self._zygotes:
            if len(self._zygotes) >= MAX_ZYGOTES:
                self.end(next(iter(self._zygotes.values())))
            self._zygotes[key] = ZygoteHandle(key, self)
        return self._zygotes[key]

    def end(self, zygote: ZygoteHandle) -> None:
        """No new request goes there; its wait status ends it."""
        if self._zygotes.get(zygote.key) is zygote:
            del self._zygotes[zygote.key]
        if not zygote.is_over:
            self._ending[zygote.pid] = zygote
            signal_process(zygote.pid, 9)


def _key(start: StartWorker) -> ZygoteKey:
    return start.adapter, tuple(sorted(start.env.items()))
