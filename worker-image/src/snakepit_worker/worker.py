"""A worker process: makes the adapter, says Ready, then inbox -> run -> outbox until it is told to stop.

The inbox is read only when a slot is free: what lies in it has not been started and can be taken back.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from snakepit._ipc.control import StartWorker
from snakepit._ipc.held import HeldResults
from snakepit._ipc.sockets import DONTWAIT, FramingError, recv_call
from snakepit._ipc.worker import (
    CHANNEL_EXIT,
    CancelCall,
    Credit,
    EndSession,
    Failed,
    Flush,
    Ping,
    Pong,
    Ready,
    SetLimits,
    Stop,
    ToWorker,
)
from snakepit.author.adapter import Adapter, AdapterError
from snakepit.author.context import StateCache
from snakepit.author.tools import describe, discover
from snakepit_worker import box, container, debugging, logs, raised, scratch, shared_memory
from snakepit_worker.channel import Channel
from snakepit_worker.exits import give_up, keep_stacks, leave, set_apart
from snakepit_worker.explained import explain
from snakepit_worker.interrupts import Interrupts, ThreadInterrupts
from snakepit_worker.invoke import Invoker, Limits
from snakepit_worker.patching import load_unpatched
from snakepit_worker.processes import die_with, name_process
from snakepit_worker.raised import Raised
from snakepit_worker.runners import MainThreadRunner, ThreadRunner
from snakepit_worker.running import Calls
from snakepit_worker.sessions import Sessions
from snakepit_worker.starting import WorkerEnds, await_go

Factory = type[Adapter]
_STDERR = 2
logger = logging.getLogger("snakepit.worker")


class StartError(Exception):
    """`stage`: import, adapter, setup. The cause is the author's exception."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


class Signal:
    """A flag that `poll` can wait for."""

    def __init__(self) -> None:
        self._descriptor = set_apart(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def fileno(self) -> int:
        """The descriptor that `poll` waits for."""
        return self._descriptor

    def set(self) -> None:
        """Wake whoever polls."""
        os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Nothing is to be seen any more."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)


class Worker:
    """One incarnation of a worker, from its start to its exit code."""

    def __init__(self, start: StartWorker, inbox: socket.socket, outbox: socket.socket) -> None:
        self._start = start
        self._inbox = inbox
        self._interrupts: Interrupts | ThreadInterrupts
        self._runner: MainThreadRunner | ThreadRunner
        if start.profile == "thread":
            self._interrupts = threads = ThreadInterrupts()
            self._runner = ThreadRunner(threads)
        else:
            self._interrupts = main = Interrupts()
            self._runner = MainThreadRunner(main)
        held = None if start.profile == "thread" else HeldResults(inbox)
        self._channel = Channel(outbox, inbox, self._interrupts, held)
        self._calls = Calls(self._runner)
        self._limit = Limits(pickle="pickle" in start.payloads)
        self._raised = Raised(raised.is_wanted(os.environ))
        self._wake = Signal()
        self._stop = Signal()
        self._stopping = False
        self._over = False
        self._ended_sessions: deque[EndSession] = deque()
        os.register_at_fork(after_in_child=self._disown)

    def run(self, factory: Factory | None) -> int:
        """Live; the exit code."""
        self._interrupts.install()
        threading.Thread(target=self._read, name="snakepit-outbox", daemon=True).start()
        try:
            code = self._live(factory)
        except Exception as error:  # not swallowed: it ends the process
            self._end(error)
        self._over = True  # The outbox is about to be closed, maybe under the reader that has just handed on the last order.
        return code

    def _live(self, factory: Factory | None) -> int:
        try:
            adapter, invoker = self._prepare(factory)
        except StartError as error:
            cause = error.__cause__ or error
            if self._channel.disowned:
                leave(cause)
            self._channel.send(Failed(error.stage, **explain(cause)))
            return 1
        self._serve(invoker)
        self._finish(adapter)
        return 0

    # ---- before the first call

    def _prepare(self, factory: Factory | None) -> tuple[Adapter, Invoker]:
        began = time.monotonic()
        adapter = self._make(factory)
        try:
            tools = discover(adapter)
            self._refuse_threads(adapter)
        except Exception as error:
            raise StartError("adapter") from error
        try:
            self._hook(adapter.setup)
        except BaseException as error:
            raise StartError("setup") from error
        infos = [tools[name].info for name in sorted(tools)]
        self._channel.send(Ready(infos, describe(adapter), time.monotonic() - began, bool(adapter.thread_safe), container.python()))
        return adapter, Invoker(
            tools=tools,
            channel=self._channel,
            runner=self._runner,
            calls=self._calls,
            sessions=Sessions(adapter, self._hook),
            cache=StateCache(),
            limit=self._limit,
            means={},
            lines=logs.ManyCalls() if self._start.profile == "thread" else logs.one_call,
            raised=self._raised,
        )

    def _make(self, factory: Factory | None) -> Adapter:
        try:
            factory = factory or load_unpatched(self._start.adapter)
        except BaseException as error:
            raise StartError("adapter" if isinstance(error, AdapterError) else "import") from error
        try:
            return factory()
        except BaseException as error:
            raise StartError("adapter") from error

    def _refuse_threads(self, adapter: Adapter) -> None:
        if self._start.profile == "thread" and not bool(adapter.thread_safe):
            raise AdapterError(
                f"adapter {self._start.adapter} is not marked thread-safe, and worker.profile is thread: "
                "set thread_safe = True on it if its tools may run at the same time, or use profile process"
            )

    def _hook(self, hook: Callable[..., object], *arguments: str) -> None:
        """Run it. A process that it has forked ends when it comes back, as one of a tool's does: what follows is for one alone."""
        try:
            self._runner.hook(hook, *arguments)
        except BaseException as error:
            if self._channel.disowned:
                leave(error)
            raise
        if self._channel.disowned:
            leave(None)

    # ---- serving

    def _serve(self, invoker: Invoker) -> None:
        if self._start.profile != "thread":
            self._take_calls(invoker, self._wake, invoker.sessions)
            return
        slots = [threading.Thread(target=self._fill_slot, args=(invoker,), name=f"slot-{n}") for n in range(self._start.slots)]
        for each in slots:
            each.start()
        while not self._stopping:
            select.select([self._wake], [], [])
            self._wake.clear()
            self._end_sessions(invoker.sessions)
        for each in slots:
            each.join()

    def _fill_slot(self, invoker: Invoker) -> None:
        try:
            self._take_calls(invoker, self._stop)
        except Exception as error:  # not swallowed: it ends the process
            self._end(error)

    def _take_calls(self, invoker: Invoker, wake: Signal, sessions: Sessions | None = None) -> None:
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while not self._stopping:
            if sessions is not None:
                self._end_sessions(sessions)
            try:
                call = recv_call(self._inbox, DONTWAIT)
            except BlockingIOError:
                self._channel.flush()
                self._runner.rest(poll, (self._inbox.fileno(), wake.fileno()))
                if sessions is not None:
                    wake.clear()
                continue
            if call is None:
                self._order_stop()
                break
            invoker.run(call)
        self._channel.flush()

    def _end_sessions(self, sessions: Sessions) -> None:
        while self._ended_sessions:
            ended = self._ended_sessions.popleft()
            sessions.end(ended.session_id, ended.uid, ended.epoch)

    # ---- orders, in the reader thread

    def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                self._channel.read(self._obey)
            except (OSError, FramingError) as error:
                if not (self._stopping or self._over):
                    give_up(error)
        if not self._over:
            # Shut by the author's code; or the agent has gone, nobody reads the code, and the keeper is about to kill us.
            os._exit(CHANNEL_EXIT)

    def _obey(self, frame: ToWorker) -> None:
        match frame:
            case CancelCall():
                if not debugging.terminal():  # whoever debugs takes longer than any caller waits
                    self._calls.interrupt(frame.id, frame.reason)
            case Credit():
                self._calls.credit(frame.id, frame.chunks)
            case SetLimits():
                self._limit.set(frame.max_bytes, frame.name, pickle=frame.pickle)
            case EndSession():
                self._ended_sessions.append(frame)
                self._wake.set()
            case Flush():
                self._channel.flush()
            case Ping():
                self._channel.send(Pong())
            case Stop():
                self._order_stop()

    def _order_stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._stop.set()

    # ---- the end

    def _finish(self, adapter: Adapter) -> None:
        for hook in (adapter.on_drain, adapter.teardown):
            try:
                self._hook(hook)
            except BaseException:  # sys.exit() in one must not skip the other
                logger.exception("%s failed", hook.__name__)
        self._runner.close()
        self._raised.finish()

    def _end(self, error: Exception) -> NoReturn:
        """End the process: nothing can be taken or told any more."""
        if self._channel.disowned:
            leave(error)
        give_up(error)

    def _disown(self) -> None:
        """Forget what is not its own, in a child that the author forked."""
        self._inbox.close()
        self._channel.disown()
        self._runner.disown()
        faulthandler.enable(_STDERR)  # What kills a child is not the end of the worker.


def run(ends: WorkerEnds, keeper_pid: int, factory: Factory | None) -> int:
    """A new process becomes a worker, once the keeper says so; the exit code."""
    start = await_go(ends.go)
    if start is None:
        os._exit(0)  # It was never a worker: nothing of the author's is to run here, not even at exit.
    die_with(keeper_pid)
    box.enter(box.version())
    name_process(start.name or f"worker/{start.index}")
    logs.redirect(ends.output)
    logs.one_call.share(ends.note)
    scratch.enter(start.scratch)
    shared_memory.enter(start.incarnation)
    _settle()
    if path := debugging.terminal():
        debugging.attach(path)
    with socket.socket(fileno=set_apart(ends.inbox)) as inbox, socket.socket(fileno=set_apart(ends.outbox)) as outbox:
        keep_stacks(inbox)
        return Worker(start, inbox, outbox).run(factory)


def _settle() -> None:
    """What a process of the author's may expect: default signals, stacks before a fatal signal."""
    _step_back()
    faulthandler.enable()


def _step_back() -> None:
    """A worker that wakes doesn't interrupt who woke it: the agent hands over its whole batch first, and is never kept waiting.

    Author's code is what the policy is meant for, and the share of the processor stays the same (sched(7), SCHED_BATCH).
    """
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> int:
    """`python -m snakepit_worker.worker INBOX OUTBOX GO OUTPUT NOTE KEEPER_PID`: startup `spawn`."""
    *ends, keeper_pid = map(int, sys.argv[1:])
    logs.install()
    return run(WorkerEnds(*ends), keeper_pid, None)


if __name__ == "__main__":
    sys.exit(main())
