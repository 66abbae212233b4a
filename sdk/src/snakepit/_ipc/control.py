"""The control socket between agent and keeper: its frames, and how they are sent. The author's tools need none of it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Annotated

import msgspec

from snakepit._ipc.frames import Frame
from snakepit._ipc.sockets import decode, encode, send_packet

PROTOCOL = 1
"""Agent and keeper refuse each other when this differs."""


THREADS_VARIABLE = "OMP_NUM_THREADS"
"""OpenBLAS, MKL, BLIS and NumExpr have variables of their own, and go by this one where the author sets none of them."""


def thread_environment(profile: str, threads: int, cpus: float) -> dict[str, str]:
    """How many threads the numeric libraries of a worker may start, as a variable that they read when they are imported.

    One in the `process` profile, the container's CPUs ÷ threads in the `thread` profile. The author's own setting wins.
    """
    count = max(1, int(cpus // threads)) if profile == "thread" else 1
    return {THREADS_VARIABLE: str(count)}


# ---- control socket: keeper -> agent. The author's code may have got hold of it: numbers that can't be make no frame.

Pid = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
ExitCode = Annotated[int, msgspec.Meta(ge=0, le=255)]
Signal = Annotated[int, msgspec.Meta(ge=0, le=64)]


class KeeperHello(Frame, tag="hello"):
    """First packet of a keeper. Two descriptors: of `memory.events` or `memory.oom_control`, or of /dev/null where neither can be opened;
    and of its log ring, which older keepers don't have.

    `cpus`: what its container may use; 0: it doesn't say.
    """

    protocol: int
    pid: Pid
    version: str
    python: str
    cpus: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0


class WorkerStarted(Frame, tag="started"):
    """The process exists and waits for nothing. Three descriptors: inbox write end, inbox read end, outbox.

    `note`: a sentence, where it is a fresh interpreter though a fork was asked for.
    """

    index: int
    incarnation: str
    pid: Pid
    note: str = ""


class WorkerExited(Frame, tag="exited"):
    """Proof of death: the wait status. `code` or `signal`, never both."""

    index: int
    incarnation: str
    code: ExitCode = 0
    signal: Signal = 0


class StartFailed(Frame, tag="start-failed"):
    """No process could be made: the zygote's import failed, or fork did. `stage`: import, fork."""

    index: int
    incarnation: str
    stage: str
    type: str
    message: str
    traceback: str = ""


class MemoryMeasured(Frame, tag="memory"):
    """Of each worker, every few seconds: incarnation, resident bytes, and those that no other process shares (0: not measured)."""

    workers: list[tuple[str, Bytes, Bytes]]


class KeeperTerminating(Frame, tag="terminating"):
    """The keeper got TERM: please drain; `Shutdown` ends it."""


# ---- control socket: agent -> keeper


class AgentWelcome(Frame, tag="welcome"):
    """The agent's first packet: it speaks that protocol, and refuses a keeper that speaks another."""

    protocol: int


class StartWorker(Frame, tag="start"):
    """Make a worker process. `env`: variables for what the container's environment leaves open (the zygote gets them before it imports).

    `payloads`: the pool's `call.payloads`; without pickle in it, the worker refuses what is pickled. `scratch`: the keeper tells the worker
    by it where its temporary files are.
    """

    index: int
    incarnation: str
    adapter: str
    profile: str = "process"
    slots: int = 1
    startup: str = "fork"
    env: dict[str, str] = {}
    name: str = ""
    payloads: tuple[str, ...] = ("json", "msgpack")
    scratch: str = ""


class SignalWorker(Frame, tag="signal"):
    """Send a signal to the worker's process group (`group`) or to the process alone."""

    incarnation: str
    signal: int
    group: bool = True


class SetMemoryInterest(Frame, tag="interest"):
    """From how many resident bytes on the worker's own memory is to be measured; 0, as before it is said: never."""

    incarnation: str
    bytes: int


class Shutdown(Frame, tag="shutdown"):
    """The keeper is to end what is left (KILL) and exit 0."""


FromKeeper = KeeperHello | WorkerStarted | WorkerExited | StartFailed | MemoryMeasured | KeeperTerminating
FromAgent = AgentWelcome | StartWorker | SignalWorker | SetMemoryInterest | Shutdown


_from_keeper: msgspec.msgpack.Decoder[FromKeeper] = msgspec.msgpack.Decoder(FromKeeper)
_from_agent: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)


def send_control(sock: socket.socket, frame: FromKeeper | FromAgent, descriptors: Sequence[int] = (), flags: int = 0) -> None:
    """One control frame; failures as `send_packet`."""
    send_packet(sock, encode(frame), descriptors, flags)


def decode_from_keeper(data: bytes) -> FromKeeper:
    """What the agent reads off the control socket. Raises FramingError."""
    return decode(_from_keeper, data)


def decode_from_agent(data: bytes) -> FromAgent:
    """What the keeper reads off the control socket. Raises FramingError."""
    return decode(_from_agent, data)
