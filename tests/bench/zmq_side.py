"""A hand-made broker of libzmq, its workers, and a caller: no sessions, no deadlines, no recovery. What a call through a third process
costs at the least, with the same loop in the caller as ours.

    zmq_side.py broker            prints the addresses for callers and workers
    zmq_side.py worker ADDRESS
    zmq_side.py caller ADDRESS    see `rounds.answer`
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading

import zmq
import zmq.asyncio

from tests.bench.rounds import RUN, TEXT, answer

LOOPBACK = "tcp://127.0.0.1:*"


def broker() -> None:
    """ROUTER to DEALER: libzmq's own proxy, in C, which gives the workers calls in turn."""
    context = zmq.Context()
    callers, workers = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (callers, workers):
        socket.bind(LOOPBACK)
        print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    zmq.proxy(callers, workers)


def worker(address: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(address)
    while True:
        caller, number, arguments = socket.recv_multipart()
        socket.send_multipart([caller, number, json.dumps(echo(**json.loads(arguments))).encode()])


def echo(text: str) -> str:
    return text


class Caller:
    """One socket for all calls, and for each a future by its number."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.asyncio.Context().socket(zmq.DEALER)
        self._socket.connect(address)
        self._waiting: dict[bytes, asyncio.Future[str]] = {}
        self._numbers = itertools.count()
        self._receiving = asyncio.create_task(self._receive())

    async def call(self) -> str:
        number = str(next(self._numbers)).encode()
        result = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_multipart([number, json.dumps({"text": TEXT}).encode()])
        return await result

    async def _receive(self) -> None:
        while True:
            number, result = await self._socket.recv_multipart()
            self._waiting.pop(number).set_result(json.loads(result))


async def caller(address: str) -> None:
    await answer(Caller(address).call)


def end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["caller", address]:
            RUN(caller(address))
        case [role, *addresses]:
            threading.Thread(target=end_with_input, daemon=True).start()
            {"broker": broker, "worker": worker}[role](*addresses)
