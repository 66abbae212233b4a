"""What keeps the author's processes apart though they have one uid: each is in a Landlock domain of its own (landlock(7)).

Out of a domain nobody reads or changes the memory, the variables or the descriptors of a process that isn't in it, and since Linux 6.12
nobody signals one. So a worker can't reach its siblings, nor the keeper. Who is outside, such as a debugger by `kubectl exec`, still can.

It takes Linux 5.19, and a process that can gain no privileges, as under PodSecurity `restricted`. What the processes share besides, such as
files and the network, stays as it is: a domain is no sandbox.
"""

from __future__ import annotations

import ctypes
import os

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_MAKE_BLOCK, _REFER = 1 << 11, 1 << 13
_SIGNAL = 1 << 1
NO_RENAMES, SIGNALS = 2, 6
"""Versions: before the one, whoever is in a domain can't rename from folder to folder; from the other on, signals have a scope."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """Landlock's, here; 0: there is none that is of use."""
    try:
        found = _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0
    return found if found >= NO_RENAMES else 0


def holds() -> bool:
    """Would a process of ours be kept apart here? Tried by one that is made for it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if enter(version()) else 1)
    return os.waitpid(pid, 0)[1] == 0


def enter(version: int) -> bool:
    """This thread, and whatever it starts from now on, are in a domain of their own. False: they can't be."""
    try:
        if version:
            _enter(version)
    except OSError:
        return False
    return version > 0


def _enter(version: int) -> None:
    # One has to name something that is restricted: signals, or else devices, which nobody without privileges makes anyway.
    wanted = _Ruleset(scoped=_SIGNAL) if version >= SIGNALS else _Ruleset(files=_MAKE_BLOCK | _REFER)
    size = ctypes.sizeof(wanted) if version >= SIGNALS else ctypes.sizeof(ctypes.c_uint64)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(wanted), size, 0)
    try:
        if version < SIGNALS:
            _allow_renames(ruleset)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_renames(ruleset: int) -> None:
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Rule(_REFER, root)), 0)
    finally:
        os.close(root)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
