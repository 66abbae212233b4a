"""Attacks by calls, names and tokens that are right, and some that aren't."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import json

import grpc

from hostile.eve import MIB, POOL, Eve, answered, call_frame, field, many, sip
from hostile.wire import message
from snakepit.errors import SnakepitError
from snakepit.v1 import (
    common_pb2,
    link_pb2,
    pool_pb2,
    pool_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)


class Calls(Eve):
    async def ten_thousand_cancelled_calls(self) -> None:
        async with self._channel() as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            for _ in range(self._count(20)):
                request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
                calls = [stub.Execute(request, metadata=self.metadata) for _ in range(100)]
                await asyncio.sleep(self.chance.choice([0, 0.002, 0.01]))
                for call in calls:
                    call.cancel()
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for first in range(1, self._count(8_000), 200):
                frames = []
                for id_ in range(first, first + 200):
                    frames += [call_frame(id_), link_pb2.Frame(cancel=link_pb2.Cancel(id=id_))]
                await asyncio.to_thread(message, sock, link_pb2.LinkRequest(frames=frames))
                await asyncio.to_thread(sip, sock)

    async def requests_that_never_come(self) -> None:
        """Neither a message nor an end, with a token and without; each is let go by name."""
        async with self._channel() as channel:
            paths = ["RouterService/Execute", "RouterService/ExecuteStream", "SessionService/GetSession", "PoolService/ListPools"]

            async def one(number: int) -> None:
                path = f"/snakepit.v1.{paths[number % len(paths)]}"
                call = channel.stream_stream(path)(metadata=self.metadata if number % 2 else None)
                error = await answered(call.read())
                assert getattr(error, "details", {}).get("limit") == "maxRequestSeconds", error

            count = self._count(600)
            await many(one, count, count)

    async def oversized_messages_and_metadata(self) -> None:
        async with self._channel() as channel:
            for size in (4 * MIB + 1, 5 * MIB, 20 * MIB):
                error = await self._execute(channel, payload=common_pb2.Payload(data=bytes(size)))
                assert error.reason == "PAYLOAD_TOO_LARGE", error
            for fields in ({"metadata": {"a": "x" * 100_000}}, {"metadata": {str(n): "" for n in range(50_000)}}, {"tool": "x" * 2 * MIB}):
                error = await self._execute(channel, **fields)
                assert error.reason == "INVALID_ARGUMENTS", error
            stub = router_pb2_grpc.RouterServiceStub(channel)
            for size in (7_000, 60_000, 1_000_000):
                call = stub.Execute(router_pb2.ExecuteRequest(), metadata=(*self.metadata, ("x-large", "x" * size)), timeout=10)
                assert isinstance(await answered(call), SnakepitError)

    async def deep_values(self) -> None:
        """JSON and msgpack of as many levels as fit, and a protobuf of them: the worker answers, or somebody before it."""
        deep = 100_000
        async with self._channel() as channel:
            for data in (
                b"[" * deep + b"]" * deep,
                b'{"value":' * deep + b"1" + b"}" * deep,
                b'{"value":' + b"[" * 900 + b"]" * 900 + b"}",
            ):
                await self._refused(channel, data, "application/json")
            for data in (
                b"\x91" * deep + b"\xc0",
                b"\x81\xa5value" + b"\x91" * 3000 + b"\xc0",
                b"\xdd\xff\xff\xff\xff",
                b"\xdf\xff\xff\xff\xff",
            ):
                await self._refused(channel, data, "application/msgpack")
            for levels in (30, 90, 20_000):
                value = b"\x08\x00"
                for _ in range(levels):
                    value = field(6, field(1, value))
                raw = field(1, POOL.encode()) + field(2, b"echo") + field(3, field(1, field(1, b"value") + field(2, value)))
                await answered(channel.unary_unary("/snakepit.v1.RouterService/Execute")(raw, metadata=self.metadata, timeout=10))

    async def number_bombs_and_bad_text(self) -> None:
        numbers = [
            "1e308",
            "1e999999999",
            "-0",
            "9" * 4000,
            "9" * 200_000,
            "NaN",
            "Infinity",
            "1e-999999",
            '{"$integer":"' + "9" * 100_000 + '"}',
        ]
        numbers += ['{"$integer":Infinity}', '{"$bytes":7}', '{"$array":0,"dtype":"f8","shape":[1.5]}', '{"$array":0,"shape":[1e300]}']
        texts = [b'"\xff\xfe"', b'"\\ud800"', b'"\x00"', b'{"value":"' + b"\xc3" * 1000 + b'"}', b'{"\\ud800":1}', b"", b"nul", b"{" * 3]
        async with self._channel() as channel:
            for data in [b'{"value":%s}' % number.encode() for number in numbers] + texts:
                await self._refused(channel, data, "application/json")
            for fields in (field(2, b"\xff\xfe"), field(1, b"\xc3\x28"), field(5, b"\xed\xa0\x80")):
                path = "/snakepit.v1.RouterService/Execute"
                error = await answered(channel.unary_unary(path)(field(1, POOL.encode()) + fields, metadata=self.metadata, timeout=10))
                assert isinstance(error, SnakepitError), error
            for value in (float("nan"), float("inf"), 1e308):
                request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
                request.json.update({"value": value})
                await answered(router_pb2_grpc.RouterServiceStub(channel).Execute(request, metadata=self.metadata, timeout=10))

    async def _refused(self, channel: grpc.aio.Channel, data: bytes, kind: str) -> None:
        """Or answered: by a worker that goes on."""
        found = await self._execute(channel, payload=common_pb2.Payload(data=data, content_type=kind))
        assert not isinstance(found, SnakepitError) or found.reason != "WORKER_LOST", f"{data[:60]!r}: {found}"

    # ---- names

    async def names_by_the_million(self) -> None:
        """Of tools, pools, sessions, workers and keys of metadata, all made up; none may stay anywhere."""
        async with self._channel() as channel:
            sessions = session_pb2_grpc.SessionServiceStub(channel)
            pools = pool_pb2_grpc.PoolServiceStub(channel)

            async def one(number: int) -> None:
                name = f"made-up-{self.chance.getrandbits(64):x}"
                await self._execute(channel, tool=name.replace("-", "_"))
                await self._execute(channel, pool=f"{name}/x")
                await self._execute(channel, session_id=name, metadata={name: name})
                asked = session_pb2.GetSessionRequest(pool=POOL, session_id=name)
                await answered(sessions.GetSession(asked, metadata=self.metadata, timeout=10))
                await answered(pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker=name), metadata=self.metadata, timeout=10))

            await many(one, self._count(600))
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for first in range(1, self._count(20_000), 500):
                frames = [call_frame(id_, tool=f"t{self.chance.getrandbits(64):x}") for id_ in range(first, first + 500)]
                await asyncio.to_thread(message, sock, link_pb2.LinkRequest(frames=frames))
                await asyncio.to_thread(sip, sock)

    async def idempotency_keys(self) -> None:
        """Each is kept for a while, so there are bounds."""
        async with self._channel() as channel:
            large = json.dumps({"value": "x" * 500_000}).encode()

            async def small(number: int) -> None:
                await self._execute(channel, idempotency_key=f"{self.chance.getrandbits(64):x}")

            async def kept(number: int) -> None:
                payload = common_pb2.Payload(data=large, content_type="application/json")
                await self._execute(channel, payload=payload, idempotency_key=f"{self.chance.getrandbits(64):x}")

            await many(small, self._count(500))
            await many(kept, self._count(60), 8)

    async def sessions_by_the_thousand(self) -> None:
        async with self._channel() as channel:
            stub = session_pb2_grpc.SessionServiceStub(channel)
            names = [f"s{self.chance.getrandbits(64):x}" for _ in range(self._count(800))]

            async def make(number: int) -> None:
                request = session_pb2.CreateSessionRequest(pool=POOL, session_id=names[number], metadata={"a": "x" * 1000})
                await answered(stub.CreateSession(request, metadata=self.metadata, timeout=10))

            async def end(number: int) -> None:
                request = session_pb2.DeleteSessionRequest(pool=POOL, session_id=names[number])
                await answered(stub.DeleteSession(request, metadata=self.metadata, timeout=10))

            await many(make, len(names))
            await many(end, len(names))

    async def tokens_that_are_not_right(self) -> None:
        """Signed by nobody, for somebody else, too long, and no token at all: all are told UNAUTHENTICATED."""
        right = self.target["tokens"]["eve"]
        head, body, mark = right.split(".")
        wrong = [f"{head}.{body}.{mark[::-1]}", f"{head}.{body}.", f"eyJhbGciOiJub25lIn0.{body}.", "x" * 5000, "", ".".join("abc")]
        async with self._channel() as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)

            async def one(number: int) -> None:
                token = wrong[number % len(wrong)]
                call = stub.Execute(
                    router_pb2.ExecuteRequest(pool=POOL, tool="echo"), metadata=(("authorization", f"Bearer {token}"),), timeout=10
                )
                error = await answered(call)
                assert getattr(error, "reason", "") == "UNAUTHENTICATED", (token[:20], error)

            await many(one, self._count(700))
