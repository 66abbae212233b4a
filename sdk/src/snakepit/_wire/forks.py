"""gRPC does not survive a fork: whether this process was forked while gRPC ran in its parent, so that a link here would never open.

The thread that runs grpc.aio's completion queue exists in the parent alone, and grpc.aio of the child waits for it for ever. gRPC's own
fork handlers don't help: they are for its blocking API, and now and then they crash the child (grpcio 1.85). Python's documentation has
them off unless GRPC_ENABLE_FORK_SUPPORT says otherwise, its core has them on: so it is said here, before gRPC is loaded.
"""

from __future__ import annotations

import os
import threading

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_POLLER = "_poll_wrapper"


class _State:
    running = False
    """Did gRPC run when the fork began?"""
    parent = 0


_state = _State()


def forked_from() -> int:
    """The process in which gRPC ran when this one was forked from it; 0: none."""
    return _state.parent


def _before() -> None:
    _state.running = any(_POLLER in thread.name for thread in threading.enumerate())


def _in_child() -> None:
    if _state.running:
        _state.parent = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
