"""A parked process that has imported the adapter once; workers are forked from it.

It holds no threads and no connections (an adapter whose import leaves some can't be forked, and the keeper is told so), and it runs
none of the author's code but the import. Workers are forked twice, so that they are the keeper's own children and not ours.

The garbage collector is off here, and all that the import has made is frozen: a collection in a worker would write to every object's
header, and so copy pages that are shared.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

from snakepit.local.frames import StartWorker
from snakepit.local.sockets import close_all, recv_packet
from snakepit.tools import Adapter, AdapterError, is_async, load, read_ahead
from snakepit_worker import forking, logs, worker
from snakepit_worker.processes import die_with
from snakepit_worker.starting import Forked, MustSpawn, Newborn, NotForked, decode_request, explain, reply

Factory = Callable[[], Adapter]
logger = logging.getLogger("snakepit.zygote")


class Child(NamedTuple):
    """What a fork has become."""

    newborn: Newborn
    factory: Factory


class Zygote:
    """Serves the keeper's requests until it goes away."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self._factory: Factory | None = None
        self._hindrance = ""

    def serve(self) -> Child | None:
        """Returns twice as often as it is called: None in the zygote at its end, a `Child` in each worker."""
        while (packet := recv_packet(self._keeper)) is not None:
            newborn = Newborn(*packet.descriptors)
            start = decode_request(packet.data)
            factory = self._prepare(start)
            if factory is not None and self._fork(start.incarnation):
                return Child(newborn, factory)
            close_all(newborn)
        return None

    def _prepare(self, start: StartWorker) -> Factory | None:
        try:
            if self._factory is None:
                self._hindrance = forking.watched(lambda: self._load(start.adapter))
        except BaseException as error:
            stage = "adapter" if isinstance(error, AdapterError) else "import"
            reply(self._keeper, NotForked(start.incarnation, stage, **explain(error)))
            raise SystemExit(1) from error
        if self._hindrance:
            reply(self._keeper, MustSpawn(start.incarnation, f"importing {start.adapter} leaves {self._hindrance}"))
            return None
        return self._factory

    def _load(self, adapter: str) -> None:
        self._factory = load(adapter)
        if is_async(self._factory):
            import asyncio  # noqa: F401  # once here, instead of once in each worker
        read_ahead(self._factory)
        gc.freeze()

    def _fork(self, incarnation: str) -> bool:
        """True in the worker."""
        reader, writer = os.pipe()
        try:
            middle = os.fork()
        except OSError as error:
            close_all((reader, writer))
            reply(self._keeper, NotForked(incarnation, "fork", **explain(error)))
            return False
        if middle == 0:
            return _fork_again(reader, writer)
        os.close(writer)
        pid = int.from_bytes(os.read(reader, 8), "little")
        os.close(reader)
        os.waitpid(middle, 0)
        reply(self._keeper, Forked(incarnation, pid) if pid else NotForked(incarnation, "fork", "OSError", "fork failed"))
        return False


def _fork_again(reader: int, writer: int) -> bool:
    os.close(reader)
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(writer, pid.to_bytes(8, "little"))
        os._exit(0)
    os.close(writer)
    os.setsid()
    return True


def main() -> int:
    """`python -m snakepit_worker.zygote DESCRIPTOR KEEPER_PID`."""
    descriptor, keeper_pid = int(sys.argv[1]), int(sys.argv[2])
    die_with(keeper_pid)
    logs.install()
    gc.disable()
    with socket.socket(fileno=descriptor) as keeper:
        keeper.set_inheritable(False)
        child = Zygote(keeper).serve()
    if child is None:
        return 0
    gc.enable()
    return worker.run(child.newborn, keeper_pid, child.factory)


if __name__ == "__main__":
    sys.exit(main())
