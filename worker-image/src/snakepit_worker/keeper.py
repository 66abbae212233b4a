"""PID 1 of the author's container: starts, reaps and kills worker processes on the agent's word, and tells how each one ended.

It decides nothing, never waits for anything but its one `select`, and holds none of the workers' channels. Without an agent there
are no workers: when the agent goes away, the keeper ends them and waits for the next agent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from snakepit._ipc.control import (
    PROTOCOL,
    AgentWelcome,
    FromKeeper,
    KeeperTerminating,
    MemoryMeasured,
    SetMemoryInterest,
    Shutdown,
    SignalWorker,
    StartFailed,
    StartWorker,
    WorkerExited,
    WorkerStarted,
    decode_from_agent,
)
from snakepit._ipc.sockets import FramingError, recv_packet
from snakepit_worker import box, logs, processes
from snakepit_worker.agent_connection import AgentConnection, close_sockets
from snakepit_worker.collector import Collector
from snakepit_worker.launcher import Launcher
from snakepit_worker.lineage import Guard, Lineage
from snakepit_worker.memory import Measure, Meter
from snakepit_worker.scratch import Scratch
from snakepit_worker.signals import Signals
from snakepit_worker.starting import Launch

logger = logging.getLogger("snakepit.keeper")
RUN_DIR_VARIABLE = "SNAKEPIT_RUN_DIR"
RUN_DIR = "/run/snakepit"
SOCKET = "control.sock"
DIAL_SECONDS = 0.05
REFUSED_SECONDS = 1.0


class Keeper:
    """The keeper's loop, and all that it knows of its workers."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SOCKET
        self._selector = selectors.DefaultSelector()
        self._launcher = Launcher(self)
        self._lineage = Lineage()
        self._scratch = Scratch()
        self._workers: dict[int, StartWorker] = {}
        self._memory_interest: dict[str, int] = {}
        self._strays: deque[tuple[int, int]] = deque(maxlen=256)
        self._agent: AgentConnection | None = None
        self._dial_at = 0.0
        self._measures: deque[list[Measure]] = deque(maxlen=1)
        self._terminating = False
        self._shutdown = False
        self._collector_is_behind = False

    def run(self) -> int:
        """Serve agents until one says that it is over; the exit code."""
        self.collector = Collector()
        self._guard = Guard(self._lineage, self._scratch.remove_abandoned)
        self._log_by_the_collector()
        self._scratch.open()
        logger.debug("workers are kept out of each other's memory: %s", "by Landlock" if box.holds() else "only if Yama does it")
        try:
            self._signals = Signals(self._selector)
            processes.adopt_orphans()
            Meter(self._measured_workers, self._take_measures).start()
            self._loop()
        except Exception:
            logger.exception("the keeper failed")
            return 1
        finally:
            self.collector.dismiss()
        return 0

    def _loop(self) -> None:
        while not self._finished():
            for key, _ in self._selector.select(self._patience(time.monotonic())):
                key.data()
            self._terminate()
            self._renew()
            self._reap()
            self._tell_measures()
            self._dial(time.monotonic())
            self._collector_is_behind = self.collector.flush()
        self._sweep()
        if os.getpid() != 1:
            self._scratch.close()
        self._guard.dismiss()

    def _log_by_the_collector(self) -> None:
        """Our own lines too: whoever reads the log slowly must not keep the keeper waiting."""
        sink = self.collector.open("keeper", "keeper")
        os.close(sink.note)
        logs.redirect(sink.output)
        logs.dont_wait()

    # ---- when to do what

    def _finished(self) -> bool:
        return self._shutdown and not self._workers and self._launcher.is_empty()

    def _patience(self, now: float) -> float | None:
        if self._collector_is_behind:
            return DIAL_SECONDS
        if self._shutdown or self._agent is not None:
            return None
        return max(0.0, self._dial_at - now) if self._alone else DIAL_SECONDS

    @property
    def _alone(self) -> bool:
        """No agent, and nothing left of the last one."""
        return self._agent is None and not self._workers and self._launcher.is_empty()

    def _end_everything(self) -> None:
        self._shutdown = True
        self._kill_workers()

    def _kill_workers(self) -> None:
        self._launcher.end_all()
        for pid in self._workers:
            processes.signal_group(pid, signal.SIGKILL)
        for pid in self._children():
            processes.signal_process(pid, signal.SIGKILL)

    def _children(self) -> list[int]:
        """Also what has left its worker's group and was adopted."""
        return [pid for pid in processes.children() if pid not in (self._guard.pid, self.collector.pid)]

    # ---- signals and children

    def _renew(self) -> None:
        """HUP: the code has changed. Workers that are there stay as they are; the agent replaces them when somebody asks it to."""
        if self._signals.take_new_code_wanted():
            self._launcher.renew()

    def _terminate(self) -> None:
        """The agent drains, and hurries when it is told again; without one there is nothing to drain."""
        if not self._signals.take_term_wanted():
            return
        self._terminating = True
        if self._agent is not None and self._agent.welcomed:
            self._tell(KeeperTerminating())
        else:
            self._end_everything()

    def _reap(self) -> None:
        for pid in processes.ended_children():
            if pid in self._workers:
                processes.signal_group(pid, signal.SIGKILL)  # what it had started must not outlive it
            _, status = os.waitpid(pid, 0)
            self._lineage.untag(pid)
            start = self._workers.pop(pid, None)
            if start is not None:
                self._memory_interest.pop(start.incarnation, None)
                self.collector.close(start.incarnation)
                self._scratch.remove(start.incarnation)
                self._tell_exit(start, status)
            elif not self.collector.reaped(pid) and not self._launcher.reaped(pid, _how(status)):
                self._strays.append((pid, status))
            self._end_left_over()

    def _end_left_over(self) -> None:
        """What has left its worker's group has become ours; what it leaves in turn becomes ours when it ends, which we are told too."""
        for pid in self._lineage.left_over(self._children()):
            with contextlib.suppress(ProcessLookupError):
                processes.signal_group(os.getpgid(pid), signal.SIGKILL)

    def _tell_exit(self, start: StartWorker, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        logger.debug("worker %s ended: %s", start.name or start.index, _how(status))
        self._tell(WorkerExited(start.index, start.incarnation, code=max(0, code), signal=max(0, -code)))

    def _sweep(self) -> None:
        """Nothing that descends from us stays: not even what has left its worker's group. The end of PID 1 does it by itself."""
        while os.getpid() != 1 and (left := self._children()):
            for pid in left:
                processes.signal_process(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    # ---- memory, measured in a thread

    def _measured_workers(self) -> list[tuple[int, str, int]]:
        lives = [(pid, start.incarnation) for pid, start in self._workers.copy().items()]
        return [(pid, life, self._memory_interest.get(life, 0)) for pid, life in lives]

    def _take_measures(self, found: list[Measure]) -> None:
        self._measures.append(found)
        self._signals.wake()

    def _tell_measures(self) -> None:
        while self._measures and self._agent is not None and self._agent.welcomed:
            self._tell(MemoryMeasured(self._measures.popleft()))

    # ---- the agent

    def _dial(self, now: float) -> None:
        if not self._alone or self._shutdown or now < self._dial_at:
            return
        self._dial_at = now + DIAL_SECONDS
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        try:
            sock.connect(str(self._path))
        except OSError:  # not there yet: the agent listens when it is ready
            sock.close()
            return
        self._agent = AgentConnection(sock)
        self._selector.register(sock, selectors.EVENT_READ, self._serve_agent)
        self._agent.greet(self.collector.ring)

    def _serve_agent(self) -> None:
        agent = self._agent
        if agent is None:
            return
        agent.flush()
        try:
            packet = recv_packet(agent.socket, socket.MSG_DONTWAIT)
            if packet is None:
                self._lose_agent("the agent has gone")
            else:
                self._obey(agent, packet.data)
        except BlockingIOError:
            pass
        except (OSError, FramingError) as error:
            self._lose_agent(f"the agent's connection broke: {error}")
        self._watch_for_room()

    def _lose_agent(self, why: str) -> None:
        if self._agent is None:
            return
        logger.warning("%s; its workers end now", why)
        self._selector.unregister(self._agent.socket)
        self._agent.close()
        self._agent = None
        self._kill_workers()
        if self._terminating:
            self._shutdown = True

    def _obey(self, agent: AgentConnection, data: bytes) -> None:
        match decode_from_agent(data):
            case AgentWelcome(protocol=protocol):
                self._welcome(agent, protocol)
            case StartWorker() as start:
                self._renew()
                start.scratch = self._scratch.make(start.incarnation)
                self._launcher.start(start)
            case SignalWorker(incarnation=incarnation, signal=number, group=group):
                self._signal(incarnation, number, group)
            case SetMemoryInterest(incarnation=incarnation, bytes=interest):
                if any(start.incarnation == incarnation for start in self._workers.values()):
                    self._memory_interest[incarnation] = interest
            case Shutdown():
                self._end_everything()

    def _welcome(self, agent: AgentConnection, protocol: int) -> None:
        if protocol != PROTOCOL:
            self._dial_at = time.monotonic() + REFUSED_SECONDS
            self._lose_agent(f"the agent speaks protocol {protocol}, this keeper {PROTOCOL}: use images of one release")
            return
        agent.welcomed = True

    def _signal(self, incarnation: str, number: int, group: bool) -> None:
        pid = next((pid for pid, start in self._workers.items() if start.incarnation == incarnation), None)
        if pid is None:
            if number != signal.SIGUSR1:  # There is no stack to write yet.
                self._launcher.kill_pending(incarnation)
        elif group:
            processes.signal_group(pid, number)
        else:
            processes.signal_process(pid, number)

    def _tell(self, frame: FromKeeper, passed: list[socket.socket] | None = None) -> None:
        if self._agent is None:
            close_sockets(passed or [])
        else:
            self._agent.send(frame, passed)
            self._watch_for_room()

    def _watch_for_room(self) -> None:
        if self._agent is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._agent.behind else 0)
            self._selector.modify(self._agent.socket, events, self._serve_agent)

    # ---- what the launcher tells

    def zygote_started(self, pid: int) -> None:
        """A zygote exists, and has imported nothing yet."""
        self._lineage.tag(pid)

    def launched(self, launch: Launch, pid: int) -> None:
        """The process exists; it begins once we know it."""
        start = launch.start
        if not self._is_new_child(pid):
            status = next((status for stray, status in self._strays if stray == pid), signal.SIGKILL)
            launch.abandon()
            self.failed(launch.failed("fork", "WorkerDied", f"it {_how(status)} before it began"))
            return
        self._workers[pid] = start
        self._lineage.tag(pid)
        passed = launch.go_ahead()
        if self._agent is None or self._shutdown:
            processes.signal_group(pid, signal.SIGKILL)
        self._tell(WorkerStarted(start.index, start.incarnation, pid, launch.note), passed)

    def _is_new_child(self, pid: int) -> bool:
        """A zygote runs the author's import: its word alone makes no process a worker."""
        known = (*self._workers, *self._launcher.pids, self._guard.pid, self.collector.pid)
        return pid not in known and processes.is_child(pid)

    def failed(self, failure: StartFailed) -> None:
        """No process could be made. The agent says so, once for each cause."""
        self.collector.close(failure.incarnation)
        self._scratch.remove(failure.incarnation)
        self._tell(failure)

    def watch(self, sock: socket.socket, wake: Callable[[], object]) -> None:
        """Call `wake` when the zygote's socket has something."""
        self._selector.register(sock, selectors.EVENT_READ, wake)

    def unwatch(self, sock: socket.socket) -> None:
        """The zygote's socket has ended."""
        self._selector.unregister(sock)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


def main() -> int:
    """`snakepit-keeper`: the container's command."""
    logs.install()
    return Keeper(Path(os.environ.get(RUN_DIR_VARIABLE) or RUN_DIR)).run()


if __name__ == "__main__":
    sys.exit(main())
