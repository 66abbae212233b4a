"""A parked process that has imported the adapter once; workers are forked from it.

It holds no threads and no connections (an adapter whose import leaves some can't be forked, and the keeper is told so), and it runs
none of the author's code but the import. Workers are forked twice, so that they are the keeper's own children and not ours. One is always
forked ahead, the spare: to copy the page tables of a large adapter takes longer than all else that makes a worker.

The garbage collector is off here, and all that the import has made is frozen: a collection in a worker would write to every object's
header, and so copy pages that are shared.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from typing import NamedTuple

from snakepit._ipc.control import StartWorker
from snakepit._ipc.sockets import Packet, close_all, packet_pair, recv_packet, send_packet
from snakepit.author.adapter import Adapter, AdapterError
from snakepit.author.tools import is_async, read_ahead
from snakepit_worker import box, forking, logs, worker
from snakepit_worker.explained import explain
from snakepit_worker.patching import load_unpatched
from snakepit_worker.processes import die_with, name_process
from snakepit_worker.starting import Forked, NotForked, WorkerEnds, decode_request, must_spawn, reply

Factory = type[Adapter]
logger = logging.getLogger("snakepit.zygote")


class Child(NamedTuple):
    """What a fork has become."""

    ends: WorkerEnds
    factory: Factory


class Spare(NamedTuple):
    """A process that is forked already, is nobody's yet, and waits for its orders: one packet, as the keeper sends it."""

    pid: int
    orders: socket.socket


class Zygote:
    """Serves the keeper's requests until it goes away."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self._factory: Factory | None = None
        self._hindrance = ""
        self._spare: Spare | None = None

    def serve(self) -> Child | None:
        """Returns twice as often as it is called: None in the zygote at its end, a `Child` in each worker.

        Once it has said that it can't be forked it answers nothing more: the keeper makes those that wait in another way, and ends it.
        """
        while not self._hindrance and (packet := recv_packet(self._keeper)) is not None:
            try:
                child = self._answer(packet)
            finally:
                close_all(packet.descriptors)
            if child := child or self._fork_ahead():
                return child
        if self._hindrance:
            _await_the_end()
        return None

    def _answer(self, packet: Packet) -> Child | None:
        """Answer a request. A `Child` in the worker, as everywhere below."""
        start = decode_request(packet.data)
        if not self._prepare(start):
            return None
        pid = self._pass_on(packet)
        if not pid:
            try:
                if child := self._fork():
                    return child
            except OSError as error:
                reply(self._keeper, NotForked(start.incarnation, "fork", **explain(error)))
                return None
            pid = self._pass_on(packet)
        if pid:
            reply(self._keeper, Forked(start.incarnation, pid))
        else:
            reply(self._keeper, NotForked(start.incarnation, "fork", "WorkerDied", "it ended before it began"))
        return None

    def _pass_on(self, packet: Packet) -> int:
        """The spare becomes the worker that is asked for: its pid; 0 where there is none, or it has died."""
        if self._spare is None:
            return 0
        spare, self._spare = self._spare, None
        with spare.orders:
            try:
                send_packet(spare.orders, packet.data, packet.descriptors)
            except OSError:
                return 0
        return spare.pid

    def _fork_ahead(self) -> Child | None:
        """Page tables are copied while nobody waits. What can't be forked now is tried again, and told, when it is asked for."""
        with contextlib.suppress(OSError):
            return self._fork() if self._factory and not self._hindrance else None
        return None

    def _prepare(self, start: StartWorker) -> bool:
        """Import the adapter, the first time. False: the request is answered."""
        try:
            if self._factory is None:
                self._hindrance = forking.watched(lambda: self._load(start.adapter))
        except BaseException as error:
            stage = "adapter" if isinstance(error, AdapterError) else "import"
            reply(self._keeper, NotForked(start.incarnation, stage, **explain(error)))
            raise SystemExit(1) from error
        if self._hindrance:
            reply(self._keeper, must_spawn(start.incarnation, f"importing {start.adapter} leaves {self._hindrance}"))
        return not self._hindrance

    def _load(self, adapter: str) -> None:
        self._factory = load_unpatched(adapter)
        if is_async(self._factory):
            import asyncio  # noqa: F401  # once here, instead of once in each worker
        read_ahead(self._factory)
        gc.freeze()

    def _fork(self) -> Child | None:
        """Fork the next spare. Raises OSError."""
        ours, theirs = packet_pair()
        try:
            pid = _fork_away()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            self._spare = Spare(pid, ours)
            return None
        ours.close()
        self._keeper.close()
        return self._stand_by(theirs)

    def _stand_by(self, orders: socket.socket) -> Child:
        """Wait, in the spare, to become a worker."""
        name_process("snakepit-spare")
        forking.renounce()
        with orders:
            packet = recv_packet(orders)
        if packet is None or self._factory is None:
            os._exit(0)  # The zygote has ended. Nothing of the author's is to run here, not even at exit.
        return Child(WorkerEnds(*packet.descriptors), self._factory)


def _await_the_end() -> None:
    """Not an end of our own: what the keeper has asked for and we have not read would hide our last answer from it."""
    while True:
        signal.pause()


def _fork_away() -> int:
    """As os.fork, but the keeper inherits the child, which leads a session of its own. Raises OSError."""
    reader, writer = os.pipe()
    try:
        middle = os.fork()
    except OSError:
        close_all((reader, writer))
        raise
    if middle == 0:
        return _fork_again(reader, writer)
    os.close(writer)
    pid = int.from_bytes(os.read(reader, 8), "little")
    os.close(reader)
    os.waitpid(middle, 0)
    if not pid:
        raise OSError(errno.EAGAIN, "fork failed")
    return pid


def _fork_again(reader: int, writer: int) -> int:
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
    return 0


def main() -> int:
    """`python -m snakepit_worker.zygote DESCRIPTOR KEEPER_PID`; returns in workers alone."""
    descriptor, keeper_pid = int(sys.argv[1]), int(sys.argv[2])
    die_with(keeper_pid)
    box.enter(box.version())
    logs.install()
    gc.disable()
    forking.prepare()
    with socket.socket(fileno=descriptor) as keeper:
        keeper.set_inheritable(False)
        child = Zygote(keeper).serve()
    if child is None:
        os._exit(0)  # Workers that it has forked may still use what the import would delete at its end.
    gc.enable()
    return worker.run(child.ends, keeper_pid, child.factory)


if __name__ == "__main__":
    sys.exit(main())
