"""Requests that don't come, by themselves: how many are let go at a time. By a server: tests/integration/control_plane/test_arrivals.py."""

from __future__ import annotations

import asyncio
from typing import Any

from snakepit.errors import DeadlineExceeded
from snakepit.v1 import common_pb2, router_pb2
from snakepit_control_plane.servers.arrivals import AT_ONCE, LARGE_BYTES, Arrivals
from snakepit_control_plane.servers.rpc import handlers
from support import virtual_time

COUNT = 20 * AT_ONCE


class Silent:
    """The context of an RPC whose message never comes."""

    async def read(self) -> Any:
        await asyncio.get_running_loop().create_future()


def test_requests_that_are_late_together_are_let_go_in_turns_with_others_between_them() -> None:
    """Or whoever opens them keeps everybody waiting for all of their refusals."""

    async def play() -> None:
        arrivals, told = Arrivals(2), list[float]()

        async def one() -> None:
            try:
                await arrivals.read(Silent())  # type: ignore[arg-type]
            except DeadlineExceeded:
                told.append(loop.time() - began)

        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = [asyncio.create_task(arrivals.run()), *(asyncio.create_task(one()) for _ in range(COUNT))]
        await asyncio.sleep(2.5)
        assert told == []
        most = since = 0
        await asyncio.sleep(0.5)
        while len(told) < COUNT:
            await asyncio.sleep(0)
            most, since = max(most, len(told) - since), len(told)
        assert 0 < most <= AT_ONCE
        assert set(told) == {3.0}
        assert len(arrivals) == 0
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_time.run(play())


class Sent:
    """The context of an RPC whose message is there."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    async def read(self) -> Any:
        return self._message


class Servicer:
    """Of whatever service. `taken`: bytes of payload of each request, in order."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    async def Execute(self, request: router_pb2.ExecuteRequest, _: object) -> router_pb2.ExecuteResponse:  # noqa: N802
        self.taken.append(len(request.payload.data))
        return router_pb2.ExecuteResponse()

    ExecuteStream = Execute


class Asked:
    """The details of an RPC, as gRPC has them."""

    method = "/snakepit.v1.RouterService/Execute"
    invocation_metadata = ()


def test_of_large_messages_that_are_there_together_one_is_read_at_a_time_and_small_ones_do_not_wait_for_them() -> None:
    async def play() -> None:
        servicer, arrivals = Servicer(), Arrivals(2)
        found = handlers(router_pb2.DESCRIPTOR.services_by_name["RouterService"], servicer, arrivals).service(Asked())  # type: ignore[arg-type]
        assert found is not None

        async def one(size: int) -> None:
            message = router_pb2.ExecuteRequest(payload=common_pb2.Payload(data=bytes(size))).SerializeToString()
            await found.stream_unary(None, Sent(message))  # type: ignore[union-attr,misc,arg-type]

        sizes = [LARGE_BYTES + 1, LARGE_BYTES + 2, LARGE_BYTES + 3, 10]
        tasks = [asyncio.create_task(one(size)) for size in sizes]
        most = since = 0
        while len(servicer.taken) < len(tasks):
            await asyncio.sleep(0)
            most, since = max(most, len(servicer.taken) - since), len(servicer.taken)
        assert most == 1
        assert servicer.taken == [10, *sizes[:3]]
        await asyncio.gather(*tasks)

    virtual_time.run(play())
