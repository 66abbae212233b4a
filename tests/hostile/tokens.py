"""Attacks with a token that is right: a client of its own subject, who knows gRPC, links and lanes, and means harm."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import msgspec

from hostile.wire import dial, hung_up, message, send
from snakepit._wire.status import from_rpc_error
from snakepit.errors import SnakepitError
from snakepit.v1 import (
    common_pb2,
    link_pb2,
    link_pb2_grpc,
    pool_pb2,
    pool_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)

POOL = "default/sample"
MIB = 1024 * 1024
PATIENCE_SECONDS = 15.0
AT_A_TIME = 64
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Tokens:
    def __init__(self, target: dict[str, Any], scale: float, chance: random.Random) -> None:
        self.target = target
        self.chance = chance
        self._scale = scale
        self.server = f"127.0.0.1:{target['grpc']}"
        self.metadata = (("authorization", f"Bearer {target['tokens']['eve']}"),)

    def _count(self, number: int) -> int:
        return max(1, int(number * self._scale))

    # ---- ways in

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.server, options=OPTIONS)

    async def _execute(self, channel: grpc.aio.Channel, *, timeout: float = PATIENCE_SECONDS, **fields: Any) -> Any:
        """The answer, or the SnakepitError."""
        request = router_pb2.ExecuteRequest(**{"pool": POOL, "tool": "echo", **fields})
        return await answered(router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=timeout, metadata=self.metadata))

    @contextlib.asynccontextmanager
    async def _link(self, channel: grpc.aio.Channel, *, lane: bool = True) -> AsyncIterator[tuple[link_pb2.Welcome, Any]]:
        """A link's Welcome, and its lane or stream."""
        stream = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=self.metadata)
        await stream.write(hello())
        first: Any = await stream.read()
        welcome = first.frames[0].welcome
        try:
            if lane:
                sock = await asyncio.to_thread(show, welcome.lane.port, welcome.lane.ticket)
                with sock:
                    yield welcome, sock
            else:
                await stream.write(link_pb2.LinkRequest())
                yield welcome, stream
        finally:
            stream.cancel()

    async def _said_on_a_lane(self, *parts: bytes | link_pb2.LinkRequest) -> bool:
        """Is who says so hung up?"""
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for part in parts:
                await asyncio.to_thread(send if isinstance(part, bytes) else message, sock, part)
            return await asyncio.to_thread(hung_up, sock, 1.0)

    # ---- calls

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

    # ---- links

    async def floods_of_hellos(self) -> None:
        """With a token, without one, and as an agent that it is not."""
        for _ in range(self._count(3)):
            async with self._channel() as channel:
                stub = link_pb2_grpc.LinkServiceStub(channel)

                async def one(number: int, stub: Any = stub) -> None:
                    stream = stub.Link(metadata=self.metadata if number % 3 else None)
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await stream.write(hello(link_pb2.ROLE_AGENT if number % 3 == 1 else link_pb2.ROLE_CLIENT))
                        await stream.read()
                    stream.cancel()

                await many(one, self._count(300))

    async def links_that_do_nothing(self) -> None:
        """As many as may be."""
        async with self._channel() as channel:
            stub = link_pb2_grpc.LinkServiceStub(channel)
            streams = [stub.Link(metadata=self.metadata) for _ in range(self._count(300))]
            for stream in streams:
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await stream.write(hello())
            await asyncio.sleep(1)
            for stream in streams:
                stream.cancel()

    async def floods_of_offers(self) -> None:
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for number in range(self._count(300)):
                tools = [common_pb2.Tool(name=f"t{self.chance.getrandbits(48):x}", description="x" * 100) for _ in range(number % 400)]
                offer = link_pb2.Offer(id=number % 7, provider="eve", pool=POOL, tools=tools, session_id="made up" if number % 2 else "")
                await asyncio.to_thread(message, sock, link_pb2.LinkRequest(frames=[link_pb2.Frame(offer=offer)]))
                await asyncio.to_thread(sip, sock)

    async def links_that_do_not_read(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            socks = []
            for _ in range(self._count(4)):
                channel = await stack.enter_async_context(self._channel())
                socks.append((await stack.enter_async_context(self._link(channel)))[1])
            await asyncio.gather(*[asyncio.to_thread(shout, sock, 30) for sock in socks])

    # ---- frames

    async def frames_of_others_and_out_of_order(self) -> None:
        """What only agents say, what only replicas say, and ids that nobody has, of whom there are some."""
        ids = [0, 1, 2, 7, 1 << 31, (1 << 64) - 1, *(self.chance.getrandbits(64) for _ in range(20))]
        frames = []
        for id_ in ids:
            frames += [
                link_pb2.Frame(cancel=link_pb2.Cancel(id=id_)),
                link_pb2.Frame(result=link_pb2.Result(id=id_, call_id="x")),
                link_pb2.Frame(reject=link_pb2.Reject(id=id_)),
                link_pb2.Frame(progress=link_pb2.Progress(id=id_)),
                link_pb2.Frame(flow=link_pb2.Flow(id=id_, taken=1 << 31)),
                link_pb2.Frame(flow=link_pb2.Flow(id=id_, chunk=common_pb2.Payload(data=b"x"))),
                link_pb2.Frame(recall=link_pb2.Recall(id=id_)),
                link_pb2.Frame(state_request=link_pb2.StateRequest(id=id_, session_id="good")),
                link_pb2.Frame(nested_call=link_pb2.NestedCall(parent=id_, call=called(id_))),
                link_pb2.Frame(offer_reply=link_pb2.OfferReply(id=id_)),
                link_pb2.Frame(session_released=link_pb2.SessionReleased(session_uid="x", session_epoch=id_ % 1000)),
            ]
        frames += [hello().frames[0], link_pb2.Frame(welcome=link_pb2.Welcome()), link_pb2.Frame(report=pool_report()), link_pb2.Frame()]
        frames += [link_pb2.Frame(settings=link_pb2.PoolSettings(pool=POOL, deleted=True)), link_pb2.Frame(drain=link_pb2.Drain())]
        frames += [link_pb2.Frame(credentials=link_pb2.Credentials(token="x" * 1000)), link_pb2.Frame(go_away=link_pb2.GoAway())]
        for _ in range(self._count(20)):
            self.chance.shuffle(frames)
            async with self._channel() as channel, self._link(channel) as (_, sock):
                for first in range(0, len(frames), 30):
                    await asyncio.to_thread(message, sock, link_pb2.LinkRequest(frames=frames[first : first + 30]))
                await asyncio.to_thread(sip, sock, 0.02)

    async def the_same_id_again_and_again(self) -> None:
        for _ in range(self._count(20)):
            assert await self._said_on_a_lane(link_pb2.LinkRequest(frames=[call_frame(7, tool="sleep", value=5), call_frame(7)] * 20))

    async def heads_that_promise_too_much(self) -> None:
        for length in (0xFFFFFFFF, 0x80000000, 5 * MIB + 1):
            assert await self._said_on_a_lane(length.to_bytes(4, "little"))
        async with self._channel() as channel, self._link(channel) as (welcome, _):
            for length in (0xFFFFFFFF, 0x80000000, 5 * MIB + 1):
                for kind in (1, 2, 3, 9):
                    with await asyncio.to_thread(show, welcome.lane.port, welcome.lane.bulk_ticket) as sock:
                        send(sock, length.to_bytes(4, "little") + bytes((kind,)))
                        assert await asyncio.to_thread(hung_up, sock), (length, kind)

    async def empty_messages_and_empty_frames(self) -> None:
        async with self._channel() as channel, self._link(channel) as (_, sock):
            await asyncio.to_thread(send, sock, bytes(4) * self._count(100_000))
            await asyncio.to_thread(sip, sock)
        for part in (b"\x0a\x00", b"\x0a\x03\xf2\x0f\x00", b"\x0a\x03\xca\x01\x00", b"\x0a\x02\x22\x00"):
            await self._said_on_a_lane(*[link_pb2.LinkRequest.FromString(part * 60_000)] * self._count(4))
        assert await self._said_on_a_lane((2 * MIB).to_bytes(4, "little") + b"\x0a\x00" * MIB)

    async def garbage_and_half_messages_on_lanes(self) -> None:
        whole = link_pb2.LinkRequest(frames=[call_frame(1), link_pb2.Frame(cancel=link_pb2.Cancel(id=1))]).SerializeToString()
        for _ in range(self._count(40)):
            broken = bytearray(whole[: self.chance.randrange(len(whole))])
            if broken:
                broken[self.chance.randrange(len(broken))] ^= 1 << self.chance.randrange(8)
            async with self._channel() as channel, self._link(channel) as (welcome, sock):
                with await asyncio.to_thread(show, welcome.lane.port, welcome.lane.bulk_ticket) as bulk:
                    kind = bytes((self.chance.randrange(256),))
                    send(bulk, len(broken).to_bytes(4, "little") + kind + bytes(broken) + self.chance.randbytes(30))
                await asyncio.to_thread(message, sock, bytes(broken))

    async def tickets_that_are_used_or_old(self) -> None:
        """A lane's ticket is good once, a bulk lane's for as long as its link; that of a link that has ended is nobody's."""
        async with self._channel() as channel:
            for _ in range(self._count(10)):
                async with self._link(channel) as (welcome, _):
                    again = dial(welcome.lane.port, welcome.lane.ticket)
                    with again:
                        assert await asyncio.to_thread(hung_up, again), "a lane's ticket is good once"
                for _ in range(50):
                    with dial(welcome.lane.port, welcome.lane.bulk_ticket) as late:
                        if await asyncio.to_thread(hung_up, late, 1.0):
                            break
                else:
                    raise AssertionError("the bulk ticket outlives its link")

    async def results_that_are_not_ones_own(self) -> None:
        """Whatever id is asked for."""
        async with self._channel() as channel, self._link(channel) as (welcome, _):
            for _ in range(self._count(50)):
                with await asyncio.to_thread(show, welcome.lane.port, welcome.lane.bulk_ticket) as sock:
                    wanted = link_pb2.FromClient(fetch=f"{self.chance.getrandbits(64):016x}").SerializeToString()
                    send(sock, len(wanted).to_bytes(4, "little") + bytes((0x81,)) + wanted)
                    head = await asyncio.to_thread(sock.recv, 5, socket.MSG_WAITALL)
                    assert head[4] == 5, "it has failed"

    async def endless_timeouts(self) -> None:
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for number, timeout in enumerate([1e308, float("inf"), float("nan"), -1.0, 1e300] * self._count(4), 1):
                await asyncio.to_thread(message, sock, link_pb2.LinkRequest(frames=[call_frame(number, timeout_seconds=timeout)]))
            await asyncio.to_thread(sip, sock, 0.2)


# ---- parts


async def answered(call: Awaitable[Any]) -> Any:
    """The answer, or what went wrong."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)


async def many(one: Callable[[int], Awaitable[None]], count: int, at_a_time: int = AT_A_TIME) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*[work() for _ in range(at_a_time)])


def hello(role: int = link_pb2.ROLE_CLIENT) -> link_pb2.LinkRequest:
    about = link_pb2.Capsule(name="sample-0", incarnation="made up", pool=POOL, pod_uid="pod-uid") if role == link_pb2.ROLE_AGENT else None
    return link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=role, capsule=about))])  # type: ignore[arg-type]


def called(id_: int, tool: str = "echo", value: object = 1, **fields: Any) -> link_pb2.Call:
    arguments = common_pb2.Payload(data=msgspec.json.encode({"value": value} if tool == "echo" else {"seconds": value}))
    return link_pb2.Call(id=id_, call_id=f"e{id_}", pool=POOL, tool=tool, arguments=arguments, **fields)


def call_frame(id_: int, tool: str = "echo", value: object = 1, **fields: Any) -> link_pb2.Frame:
    return link_pb2.Frame(call=called(id_, tool, value, **fields))


def pool_report() -> link_pb2.Report:
    return link_pb2.Report(workers=[pool_pb2.Worker(id="sample-0/0", incarnation="x", state=pool_pb2.WORKER_STATE_STOPPED)])


def field(number: int, data: bytes) -> bytes:
    """Of a protobuf message, by hand."""
    size, head = len(data), bytearray((number << 3 | 2,))
    while size >= 128:
        head.append(size % 128 + 128)
        size //= 128
    head.append(size)
    return bytes(head) + data


def show(port: int, ticket: bytes) -> socket.socket:
    sock = dial(port, ticket)
    sock.settimeout(PATIENCE_SECONDS)
    assert len(sock.recv(16, socket.MSG_WAITALL)) == 16
    return sock


def sip(sock: socket.socket, seconds: float = 0.001) -> None:
    """Read what has come."""
    sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            continue
    sock.settimeout(PATIENCE_SECONDS)


def shout(sock: socket.socket, count: int) -> None:
    """Calls of 1 MiB, whose answers nobody reads."""
    sock.settimeout(2.0)
    for number in range(1, count):
        if not message(sock, link_pb2.LinkRequest(frames=[call_frame(number, value="x" * MIB)])):
            return
