"""Attacks by links, lanes and their frames, with a token that is right."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import base64
import contextlib
import json
import socket
from typing import Any

import grpc

from hostile.eve import MIB, PATIENCE_SECONDS, POOL, Eve, call_frame, called, hello, many, pool_report, shout, show, sip
from hostile.wire import dial, hung_up, message, send
from snakepit.v1 import (
    common_pb2,
    link_pb2,
    link_pb2_grpc,
)


class Links(Eve):
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

    async def calls_with_tokens_that_are_nobodys(self) -> None:
        """Garbage, forged ones, and such of keys that there never were: each fails its own call, and its link goes on."""
        head, claims, signature = self.target["tokens"]["eve"].split(".")
        async with self._channel() as channel, self._link(channel, lane=False) as (_, stream):
            for _ in range(self._count(30)):
                odd = f"{self.chance.getrandbits(64):x}"
                key = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": odd}).encode()).decode().rstrip("=")
                deep = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
                forged = [f"{head}.{odd}.{signature}", f"{head}.{claims}.{odd}", f"{key}.{claims}.x"]
                made = [odd, "\x00", "é" * 9000, f"{deep}.{deep}.x", *forged]
                frames = [call_frame(id_, caller=link_pb2.Caller(token=made[id_ % len(made)])) for id_ in range(100)]
                await stream.write(link_pb2.LinkRequest(frames=[*frames, call_frame(100)]))
                results = list[link_pb2.Result]()
                while len(results) <= len(frames):
                    read: Any = await asyncio.wait_for(stream.read(), PATIENCE_SECONDS)
                    results += [each.result for each in read.frames if each.HasField("result")]
                assert {each.error.reason for each in results if each.id < 100} == {"UNAUTHENTICATED"}
                assert [each.HasField("payload") for each in results if each.id == 100] == [True]

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

    async def as_many_calls_in_a_message_as_there_may_be(self) -> None:
        """On two lanes and a stream; each call is refused at once, which is less work than most."""
        count = min(65_536, self._count(20_000))
        crowded = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=link_pb2.Call(id=id_, pool=POOL, tool="no")) for id_ in range(1, count)])
        async with self._channel() as channel, self._link(channel) as (_, one), self._link(channel) as (_, other):
            await asyncio.gather(*[asyncio.to_thread(message, sock, crowded) for sock in (one, other)])
            await asyncio.gather(*[asyncio.to_thread(sip, sock, 1.0) for sock in (one, other)])
        async with self._channel() as channel, self._link(channel, lane=False) as (_, stream):
            await stream.write(crowded)
            await asyncio.wait_for(stream.read(), PATIENCE_SECONDS)

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

    async def tickets_of_others(self) -> None:
        """Sniffed, and shown first: whose it is says so on its stream, and is sent away to dial again. Shown later, it takes all
        bulk lanes, and whose they are has one all the same."""
        for _ in range(self._count(20)):
            async with self._channel() as channel:
                stream = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=self.metadata)
                await stream.write(hello())
                first: Any = await stream.read()
                lane = first.frames[0].welcome.lane
                with await asyncio.to_thread(show, lane.port, lane.ticket) as thief:
                    await asyncio.to_thread(message, thief, link_pb2.LinkRequest(frames=[call_frame(1)]))
                    await stream.write(link_pb2.LinkRequest())
                    said: Any = await asyncio.wait_for(stream.read(), PATIENCE_SECONDS)
                    assert said.frames[0].go_away.HasField("last_call")
                    assert await asyncio.to_thread(hung_up, thief)
        async with self._channel() as channel, self._link(channel) as (welcome, _):
            with contextlib.ExitStack() as stack:
                for _ in range(self._count(1200)):
                    stack.enter_context(await asyncio.to_thread(show, welcome.lane.port, welcome.lane.bulk_ticket))

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
