"""Ends a call by an exception in its running frame: of the main thread by a signal, of other threads by the interpreter.

An interrupt names its call and is ignored when that call has ended; it is raised at most once a call, never inside a shield.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Protocol, TypeVar

from snakepit.author.context import Interrupted

T = TypeVar("T")
SIGNAL = signal.SIGRTMAX - 1
"""A real-time signal: SIGUSR1 dumps the stacks, SIGUSR2 is the author's."""


class Shielding(Protocol):
    """Whose `shielded` keeps the running thread from being interrupted."""

    @property
    def shielded(self) -> AbstractContextManager[None]: ...


class Interrupts:
    """Armed for one call at a time. The main thread alone arms; any thread interrupts."""

    def __init__(self) -> None:
        self._armed: int | None = None
        self._wanted: tuple[int, str] | None = None
        self._shields = 0
        self._main = threading.main_thread()
        self._shield = _Shield(self)

    @property
    def shielded(self) -> AbstractContextManager[None]:
        """Inside, the main thread is not interrupted; what came meanwhile is raised at the end."""
        return self._shield

    def install(self) -> None:
        """In the main thread of a worker whose tools run there."""
        signal.signal(SIGNAL, self._handle)

    def interrupt(self, call: int, reason: str) -> None:
        """End that call, from the reader thread."""
        self._wanted = (call, reason)
        if self._main.ident is not None:
            signal.pthread_kill(self._main.ident, SIGNAL)

    def run(self, call: int, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, for as long as nobody interrupts `call`. Raises Interrupted."""
        try:
            self._armed = call
            self._raise_if_wanted()
            return work(*arguments)
        finally:
            self._armed = None

    def disarm(self) -> None:
        """What follows in this call is cancelled in another way."""
        self._armed = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._shields:
            self._raise_if_wanted()

    def _raise_if_wanted(self) -> None:
        wanted = self._wanted
        if wanted is not None and wanted[0] == self._armed:
            self._armed = None
            raise Interrupted(wanted[1])

    def _in_main(self) -> bool:
        return threading.current_thread() is self._main


class _Shield:
    """A context in which the main thread is not interrupted; what came meanwhile is raised at its end."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        if self._interrupts._in_main():
            self._interrupts._shields += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._interrupts._in_main():
            self._interrupts._shields -= 1
            if isinstance(error, Interrupted):
                self._interrupts.disarm()  # What waited inside was told in another way, and is told once.
            elif not self._interrupts._shields and error is None:
                self._interrupts._raise_if_wanted()


# ---- other threads


class Interruptible(Protocol):
    """A call, as far as it is needed here; `reason` is set once it is to stop."""

    @property
    def reason(self) -> str: ...


@dataclass(slots=True)
class _Thread:
    """One that runs a call. It is interrupted once: `pending`, the interpreter has been told and has not raised yet; `wanted`, to be raised
    at the end of the shield."""

    call: Interruptible
    shields: int = 0
    interrupted: bool = False
    pending: bool = False
    wanted: bool = False


class ThreadInterrupts:
    """Of calls in several threads. The interpreter raises between two steps of Python, so what waits in C (a lock, a socket, `time.sleep`)
    is interrupted when that returns, and not before."""

    def __init__(self) -> None:
        self._threads: dict[int, _Thread] = {}
        self._lock = threading.Lock()
        self._shield = _ThreadShield(self)

    @property
    def shielded(self) -> AbstractContextManager[None]:
        """Inside, this thread is not interrupted; what came meanwhile is raised at the end."""
        return self._shield

    def install(self) -> None:
        """Nothing is to be installed: no signal is needed."""

    def interrupt(self, call: Interruptible) -> None:
        """End that call, from the reader thread."""
        with self._lock:
            for ident, thread in self._threads.items():
                if thread.call is call and not thread.interrupted:
                    thread.interrupted = True
                    thread.wanted = bool(thread.shields)
                    if not thread.wanted:
                        thread.pending = True
                        _raise_in(ident, _arrival(thread))

    def run(self, call: Interruptible, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, for as long as nobody interrupts `call`. Raises Interrupted."""
        ident = threading.get_ident()
        try:
            with self._lock:
                self._threads[ident] = _Thread(call)
            if call.reason:
                raise Interrupted(call.reason)
            return work(*arguments)
        finally:
            try:
                self._disarm(ident)
            except Interrupted:
                self._disarm(ident)  # It came at the last moment, and comes only once.

    def _disarm(self, ident: int) -> None:
        with self._lock:
            if (thread := self._threads.get(ident)) is not None and thread.pending:
                _raise_in(ident, None)
            self._threads.pop(ident, None)

    def enter(self) -> None:
        """This thread is shielded from here on."""
        ident = threading.get_ident()
        if ident not in self._threads:
            return
        with self._lock:
            thread = self._threads[ident]
            if thread.pending:
                _raise_in(ident, None)
                thread.pending, thread.wanted = False, True
            thread.shields += 1

    def leave(self, error: BaseException | None) -> None:
        """This thread's shield ends, with `error` if one went through it. Raises Interrupted."""
        thread = self._threads.get(threading.get_ident())
        if thread is None:
            return
        with self._lock:
            thread.shields -= 1
            if isinstance(error, Interrupted):
                thread.interrupted, thread.wanted = True, False  # What waited inside was told in another way, and is told once.
            due = thread.wanted and not thread.shields and error is None
            if due:
                thread.wanted = False
        if due:
            raise Interrupted(thread.call.reason)


class _ThreadShield:
    def __init__(self, interrupts: ThreadInterrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts.enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._interrupts.leave(error)


def _arrival(thread: _Thread) -> type[Interrupted]:
    """The interpreter wants a class, and makes its instance in the thread when it raises."""

    class Arrived(Interrupted):
        def __init__(self) -> None:
            thread.pending = False
            super().__init__(thread.call.reason)

    Arrived.__name__ = Arrived.__qualname__ = "Interrupted"
    return Arrived


def _raise_in(ident: int, error: type[Interrupted] | None) -> None:
    """Before the thread's next step of Python; None: what was to be raised there and has not been, is not."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error) if error else ctypes.py_object())
