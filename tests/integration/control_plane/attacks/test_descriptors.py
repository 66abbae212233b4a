"""A replica that may have no more descriptors: it waits until it has some again."""

from __future__ import annotations

import contextlib
import resource

from hostile.wire import dial
from support.attack import plane, victim
from support.control_plane import eventually


async def test_a_replica_without_a_descriptor_left_goes_on_once_it_has_some_again() -> None:
    with plane() as running:
        before = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        few = running.figures()["descriptors"] + 10
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (few, before[1]))
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(dial(int(running.address.rpartition(":")[2])))
            await eventually(lambda: "can't be looked at" in running.log.read_text(), "it has none to look with")
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, before)
        async with victim(running):
            pass
