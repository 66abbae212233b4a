"""How a worker process comes to be: what keeper, zygote and new worker tell each other.

A new process gets three descriptors. The last is a pipe: the keeper's go-ahead, the encoded `StartWorker`, comes through it once the
keeper knows the process; an empty one means that the keeper has gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from snakepit._ipc.control import StartFailed, StartWorker
from snakepit._ipc.sockets import close_all, decode, packet_pair, send_packet, stream_pair
from snakepit._values.strings import clipped, readable
from snakepit_worker.collector import Sink
from snakepit_worker.explained import NAME, TEXT

_GO_BYTES = 1 << 16
MOST_REASON = 4000
"""Bytes of why an adapter can't be forked."""


class WorkerEnds(NamedTuple):
    """A worker's own descriptors."""

    inbox: int
    outbox: int
    go: int
    output: int
    note: int


class Forked(msgspec.Struct, array_like=True, tag_field="kind", tag="forked"):
    """Zygote to keeper: the worker is yours now."""

    incarnation: str
    pid: int


class NotForked(msgspec.Struct, array_like=True, tag_field="kind", tag="failed"):
    """Zygote to keeper: no fork came of it, and why."""

    incarnation: str
    stage: str
    type: str
    message: str
    traceback: str = ""


class MustSpawn(msgspec.Struct, array_like=True, tag_field="kind", tag="spawn"):
    """Zygote to keeper: forking this adapter is not safe. `reason` begins a sentence."""

    incarnation: str
    reason: str


FromZygote = Forked | NotForked | MustSpawn

_encode = msgspec.msgpack.Encoder().encode
_from_zygote: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)
_start = msgspec.msgpack.Decoder(StartWorker)


class Launch:
    """The keeper's view of one worker that is being made: both ends of everything, until the process has its own copies."""

    def __init__(self, start: StartWorker, sink: Sink) -> None:
        self.start = start
        self._sink = sink
        self.note = ""
        self.inbox, self.inbox_reader = packet_pair()
        self.outbox, self._worker_outbox = stream_pair()
        self._go_reader, self._go = os.pipe()

    @property
    def ends(self) -> WorkerEnds:
        """The descriptors that the process is given."""
        return WorkerEnds(self.inbox_reader.fileno(), self._worker_outbox.fileno(), self._go_reader, *self._sink)

    def go_ahead(self) -> list[socket.socket]:
        """Let the process begin; what the agent needs is returned: inbox, its reading end, outbox."""
        os.write(self._go, _encode(self.start))
        self._close_common()
        return [self.inbox, self.inbox_reader, self.outbox]

    def abandon(self) -> None:
        """Close everything: a process that waits for its go-ahead exits."""
        self._close_common()
        for each in (self.inbox, self.inbox_reader, self.outbox):
            each.close()

    def failed(self, stage: str, type: str, message: str, traceback: str = "") -> StartFailed:
        """The failure as the agent is told."""
        texts = clipped(type, NAME), clipped(message, TEXT), clipped(traceback, TEXT)
        return StartFailed(self.start.index, self.start.incarnation, clipped(stage, NAME), *texts)

    def _close_common(self) -> None:
        os.close(self._go)
        os.close(self._go_reader)
        close_all(self._sink)
        self._worker_outbox.close()


def await_go(go: int) -> StartWorker | None:
    """In the new process: wait for the keeper; None: it has gone."""
    with open(go, "rb", buffering=0) as pipe:
        data = pipe.read(_GO_BYTES)
    return _start.decode(data) if data else None


def spawn(module: str, arguments: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int], output: int) -> int:
    """A fresh interpreter that runs `module` in a session of its own, with stdin empty; the pid. OSError where there is none.

    What the container's own environment says wins over `environment`.
    """
    for descriptor in inherited:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", module, *arguments],
            {**environment, **os.environ},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, output, each) for each in (1, 2))],
            setsid=True,
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE],
        )
    finally:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)


def request(zygote: socket.socket, launch: Launch) -> None:
    """Ask for a fork, without waiting. BlockingIOError: too many are asked for; OSError: the zygote is dead."""
    send_packet(zygote, _encode(launch.start), launch.ends, socket.MSG_DONTWAIT)


def decode_request(data: bytes) -> StartWorker:
    """Read a request, in the zygote."""
    return _start.decode(data)


def reply(keeper: socket.socket, answer: FromZygote) -> None:
    """Answer the keeper, from the zygote."""
    send_packet(keeper, _encode(answer))


def decode_reply(data: bytes) -> FromZygote:
    """Read an answer, in the keeper. Raises FramingError."""
    return decode(_from_zygote, data)


def must_spawn(incarnation: str, reason: str) -> MustSpawn:
    """`reason` may hold names that the author chose, of threads for one."""
    return MustSpawn(incarnation, clipped(readable(reason), MOST_REASON))
