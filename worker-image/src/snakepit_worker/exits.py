"""The ends of a process that are not Stop: in a signal's hands, without its channel, or as a copy that a tool forked."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
import traceback
from typing import NoReturn

from snakepit._ipc.sockets import hand_over
from snakepit._ipc.worker import CHANNEL_EXIT, STACKS

_APART = 100

logger = logging.getLogger("snakepit.worker")


def set_apart(descriptor: int) -> int:
    """The same under a number that new descriptors don't get: if the author's code closes it, that shows, and nothing goes astray."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(_APART, soft // 2))
    os.close(descriptor)
    return moved


def keep_stacks(inbox: socket.socket) -> None:
    """If a signal kills this process, or the agent asks with SIGUSR1, its Python stacks are in memory that the agent holds too."""
    descriptor = set_apart(os.memfd_create("snakepit-stacks", os.MFD_CLOEXEC))
    hand_over(inbox, STACKS, descriptor)
    faulthandler.enable(descriptor)
    faulthandler.register(signal.SIGUSR1, descriptor, all_threads=True)


def give_up(error: Exception) -> NoReturn:
    """The agent can't be talked to any more, by the doing of the author's code: the exit code says so."""
    try:
        logger.error("the worker can't go on: it can't use its channel to the agent", exc_info=error)
    finally:
        _exit(CHANNEL_EXIT)


def leave(error: BaseException | None) -> NoReturn:
    """A process that the author's code forked came back into ours: it ends as a program of its own would."""
    if error is None:
        logger.warning("process %s, which a tool or a hook had forked, returned from it: it ends here", os.getpid())
        _exit(0)
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        _exit(1)
    if error.code is not None and not isinstance(error.code, int):
        print(error.code, file=sys.stderr)
        _exit(1)
    _exit(error.code or 0)


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # whatever the author has put there
            stream.flush()
    os._exit(code & 0xFF)
