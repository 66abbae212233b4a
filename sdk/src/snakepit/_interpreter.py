"""How programs of ours that serve others want Python's interpreter, and their process: never a user's own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable

SWITCH_SECONDS = 0.0001

STOPS = (signal.SIGTERM, signal.SIGINT)


def let_the_loop_go_first() -> None:
    """So long the loop waits for a thread that works, for a scrape say, whenever both want the interpreter; by default it is 5 ms."""
    sys.setswitchinterval(SWITCH_SECONDS)


def have_all_descriptors() -> None:
    """As many as the system lets it have: containers often begin with 1,024, and each connection takes one."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError):  # macOS says of more than it gives that there is no limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def leave_out_of_collections() -> None:
    """What there is by now stays: modules, classes, messages' descriptors. To look through it costs each full collection of garbage 25 to
    50 ms, in which nobody is served; and whoever makes much garbage chooses when."""
    gc.collect()
    gc.freeze()


def when_stopped(tell: Callable[[], object]) -> None:
    """TERM and INT call `tell`, in the running loop."""
    for number in STOPS:
        asyncio.get_running_loop().add_signal_handler(number, tell)
    let_stops_in()


def let_stops_in() -> None:
    """Their handlers are there. Until then our images hold them back: PID 1 never gets a signal that came before its handler."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
