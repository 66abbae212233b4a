"""Targets: what is said within a capsule, where the author's code can say it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

from fuzz.target import cut, no_descriptor_left, target
from snakepit._ipc import control, sockets
from snakepit._ipc.held import left_behind
from snakepit._ipc.log_ring import make_ring
from snakepit._ipc.sockets import FramingError
from snakepit._ipc.worker import Done
from snakepit._telemetry import log_lines
from snakepit_agent.workers import oom, stacks
from snakepit_agent.workers.log_lines import LogLines
from snakepit_worker.log_records import NO_CALL, Splitter, as_json, as_text
from snakepit_worker.starting import decode_reply


@target(FramingError)
def outbox(data: bytes) -> None:
    """The agent's end: however the stream is cut, it breaks or not. Frames just before the end may be lost with it, and no others."""
    pieces = cut(data)
    (found, broken), (whole, whole_broken) = _frames(pieces), _frames([b"".join(pieces)])
    assert sockets.encode(whole) == sockets.encode(found[: len(whole)] if broken else found)
    assert broken == whole_broken


def _frames(pieces: list[bytes]) -> tuple[list[Any], bool]:
    buffer, found = sockets.worker_frames(), []
    for piece in pieces:
        try:
            found += buffer.feed(piece)
        except FramingError:
            return found, True
    return found, False


@target(FramingError)
def of_a_keeper(data: bytes) -> object:
    return control.decode_from_keeper(data)


@target(FramingError)
def of_an_agent(data: bytes) -> object:
    return control.decode_from_agent(data)


@target(FramingError)
def of_a_zygote(data: bytes) -> object:
    """The author's import runs there."""
    return decode_reply(data)


@target(FramingError)
def inbox(data: bytes) -> None:
    """A worker's end, and the agent's that takes back: with memory beside the packet, or without."""
    beside, data = data[:1], data[1:]
    for take in (sockets.recv_call, sockets.take_back_call):
        _packet(data, 3 & (beside or b"\0")[0], take)


@target(FramingError)
def handed_over(data: bytes) -> None:
    beside, data = data[:1], data[1:]
    _packet(data, 3 & (beside or b"\0")[0], sockets.take_over)


def _packet(data: bytes, descriptors: int, take: Callable[[Any], Any]) -> None:
    """Whatever comes of it, no descriptor is left but the one that was given."""
    ours, theirs = sockets.packet_pair()
    passed = [sockets.seal_memfd(data) for _ in range(descriptors)]
    with ours, theirs:
        sockets.send_packet(ours, data or b"\0", passed)
        sockets.close_all(passed)
        with no_descriptor_left(), contextlib.suppress(FramingError):
            taken = take(theirs)
            if isinstance(taken, tuple) and taken[1] >= 0:
                os.close(taken[1])


@target()
def held_results(data: bytes) -> None:
    """The memory of a worker that has died."""
    with TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert all(isinstance(each, Done) for each in left_behind(file.fileno()))


@target()
def stack_dump(data: bytes) -> None:
    text = data.decode(errors="replace")
    assert isinstance(stacks.where(text), str)
    assert isinstance(stacks.where(text, 1), str)
    assert isinstance(stacks.without_machinery(text), str)


@target()
def memory_events(data: bytes) -> None:
    """What a keeper says is its cgroup's file."""
    descriptor = os.memfd_create("events")
    counter = oom.OomCounter(descriptor)
    os.write(descriptor, data)
    counter.explains(1.0)
    counter.close()


@target()
def log_ring(data: bytes) -> None:
    """What lies in the memory that a keeper says has its log lines."""
    descriptor = make_ring()
    os.pwrite(descriptor, data, 0)
    lines = LogLines()
    lines.keeper_came(descriptor)
    assert all(log_lines.decode(each) for each in lines.last(100))
    lines.close()


@target()
def output(data: bytes) -> None:
    """What a worker prints: each record is one line of the log."""
    splitter = Splitter()
    records = [each for piece in cut(data) for each in splitter.feed(piece, NO_CALL, 1.0)]
    for record in [*records, *splitter.end(NO_CALL, 1.0)]:
        assert as_json(record, "worker", "w").count(b"\n") == 1
        assert as_text(record, "worker", "w")
