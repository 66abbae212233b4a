"""How programs of ours that serve others want Python's interpreter: never in a user's own process."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.0001


def let_the_loop_go_first() -> None:
    """So long the loop waits for a thread that works, for a scrape say, whenever both want the interpreter; by default it is 5 ms."""
    sys.setswitchinterval(SWITCH_SECONDS)


def leave_out_of_collections() -> None:
    """What there is by now stays: modules, classes, messages' descriptors. To look through it costs each full collection of garbage 25 to
    50 ms, in which nobody is served; and whoever makes much garbage chooses when."""
    gc.collect()
    gc.freeze()
