"""An adapter whose import answers the keeper in the zygote's place. LIE says how: the keys of LIES."""

import os
import signal
import socket
import sys
from collections.abc import Callable

import msgspec

from snakepit import tool
from snakepit._ipc.control import StartWorker
from snakepit_worker.starting import Forked, MustSpawn, NotForked, decode_request

encode = msgspec.msgpack.encode


def second(keeper: socket.socket) -> StartWorker:
    """What is asked for behind the request that this import serves."""
    data, descriptors, _, _ = socket.recv_fds(keeper, 1 << 16, 8)
    for each in descriptors:
        os.close(each)
    return decode_request(data)


def must_spawn_twice(keeper: socket.socket) -> list[bytes]:
    start = second(keeper)
    return [encode(MustSpawn(start.incarnation, "importing it leaves nothing"))] * 2


def of_another(keeper: socket.socket) -> list[bytes]:
    """The keeper's own collector, say, or the first process of the machine."""
    incarnation = second(keeper).incarnation
    return [encode(Forked(incarnation, int(os.environ.get("LIE_PID", "1"))))]


def too_much(keeper: socket.socket) -> list[bytes]:
    text = "\N{SNAKE}" * 15_000
    return [encode(NotForked(second(keeper).incarnation, "fork", "x" * 10_000, text, text[:10]))]


def wait_for_ever() -> list[bytes]:
    """In a child of the import, which keeps the zygote's sockets. The parent ends at once."""
    signal.pause()
    os._exit(1)


LIES: dict[str, Callable[[socket.socket], list[bytes]]] = {
    "must spawn twice": must_spawn_twice,
    "a process that is no child": of_another,
    "more than the agent reads": too_much,
    "nobody was asked for": lambda keeper: [
        encode(Forked("nobody", 1)),
        encode(MustSpawn("nobody", "")),
        encode(NotForked("", "", "", "")),
    ],
    "no frame": lambda keeper: [b"\xff" * 11],
    "no text": lambda keeper: [b"\x93\xa5spawn\xa2\xff\xfe\xa1x"],
    "no end": lambda keeper: [b"\x94\xa6forked\xa1i\x01" + b"\x91" * 60_000],
    "a pid out of this world": lambda keeper: [encode(Forked(second(keeper).incarnation, 1 << 62))],
    "a pid below": lambda keeper: [encode(Forked(second(keeper).incarnation, -5))],
    "an heir": lambda keeper: [] if os.fork() else wait_for_ever(),
    "too large": lambda keeper: [b"\xff" * 140_000],
}

if "snakepit_worker.zygote" in sys.orig_argv and "LIE" in os.environ:
    with socket.socket(fileno=os.dup(int(sys.argv[1]))) as keeper:
        for answer in LIES[os.environ["LIE"]](keeper):
            keeper.send(answer)
    if os.environ["LIE"] == "an heir":
        os._exit(1)


@tool
def pid() -> int:
    """Of the worker."""
    return os.getpid()
