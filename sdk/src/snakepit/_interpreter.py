"""How programs of ours that serve others want Python's interpreter, and their process: never a user's own."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys

SWITCH_SECONDS = 0.0001


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
