"""What lives as long as its program is left out of collections of garbage."""

from __future__ import annotations

import gc


def leave_out_of_collections() -> None:
    """What there is by now stays: modules, classes, messages' descriptors. To look through it costs each full collection of garbage 25 to
    50 ms, in which nobody is served; and whoever makes much garbage chooses when."""
    gc.collect()
    gc.freeze()
