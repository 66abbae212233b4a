"""An adapter whose tools try to get at what is another process's: a sibling's, their keeper's, or that of a child of their own."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from snakepit import tool

_PTRACE_ATTACH, _PTRACE_DETACH, _PIDFD_OPEN, _PIDFD_GETFD = 16, 17, 434, 438
_libc = ctypes.CDLL(None, use_errno=True)
_kept: list[bytes] = []


class _Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


@tool
def keep(secret: str) -> list[int]:
    """Hold it in memory: this process, and where it lies."""
    _kept.append(secret.encode())
    return [os.getpid(), id(_kept[-1]) + bytes.__basicsize__ - 1]


@tool
def parent() -> int:
    """The keeper."""
    return os.getppid()


@tool
def pry(pid: int, address: int, length: int) -> dict[str, str]:
    """What each way of reaching into that process gives: what was read, or the error's name."""
    return _pry(pid, address, length)


@tool
def pry_into_a_child(secret: str) -> dict[str, str]:
    """The same, of a process that is its own."""
    kept = secret.encode()
    child = os.fork()
    if child == 0:
        time.sleep(60)
    try:
        return _pry(child, id(kept) + bytes.__basicsize__ - 1, len(kept))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _pry(pid: int, address: int, length: int) -> dict[str, str]:
    ways: dict[str, Callable[[], bytes]] = {
        "memory": lambda: _memory(pid, address, length),
        "process_vm_readv": lambda: _read_by_call(pid, address, length),
        "pidfd_getfd": lambda: _descriptor(pid),
        "ptrace": lambda: _attach(pid),
        "signal": lambda: os.kill(pid, 0) or b"sent",
    }
    return {name: _tried(way) for name, way in ways.items()}


def _tried(way: Callable[[], bytes]) -> str:
    try:
        return way().decode()
    except OSError as error:
        return type(error).__name__


def _memory(pid: int, address: int, length: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(length)


def _read_by_call(pid: int, address: int, length: int) -> bytes:
    room = ctypes.create_string_buffer(length)
    ours, theirs = _Part(ctypes.addressof(room), length), _Part(address, length)
    _called(_libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))
    return room.raw


def _descriptor(pid: int) -> bytes:
    pidfd = _called(_libc.syscall(_PIDFD_OPEN, pid, 0))
    try:
        os.close(_called(_libc.syscall(_PIDFD_GETFD, pidfd, 0, 0)))
    finally:
        os.close(pidfd)
    return b"got"


def _attach(pid: int) -> bytes:
    _called(_libc.ptrace(_PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, 0)
    _libc.ptrace(_PTRACE_DETACH, pid, None, None)
    return b"attached"


def _called(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
