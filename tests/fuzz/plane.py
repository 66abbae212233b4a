"""Targets: the control plane, and a caller or an agent who says what it likes. A call of somebody else's must not notice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from fuzz.target import cut, no_failure_logged, target, until_done
from snakepit._wire import Link
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.servers.agent_link import AgentPeer
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.lanes import Lanes
from snakepit_control_plane.servers.links import LinkServicer
from snakepit_control_plane.telemetry import Telemetry
from support.router_world import World
from support.virtual_time import VirtualLoop

SETTINGS = link_pb2.PoolSettings(pool="default/test", uid="uid-1")
CAPSULE = link_pb2.Capsule(name="odd", incarnation="odd-1", pool=SETTINGS.pool, settings=SETTINGS)
CLIENT = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT))])
_TELEMETRY = Telemetry()


class Aborted(Exception):
    """An RPC was ended with a status."""


class Context:
    """Of an RPC whose first message is there already."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)

    async def read(self) -> Any:
        return self._messages.pop(0) if self._messages else grpc.aio.EOF

    async def write(self, message: Any) -> None:
        message.SerializeToString()

    async def abort(self, code: Any, message: str, trailers: Any) -> None:
        assert len(message) < 2000
        raise Aborted(message)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def _beside_a_call(act: Callable[[World], Awaitable[object]]) -> None:
    """A good caller's call runs at a good capsule meanwhile; afterwards another one is served."""

    async def live() -> None:
        world = await World(_TELEMETRY, capsules=1, workers=2).start()
        try:
            world.submit()
            world.carry_all()
            assert len(world.running()) == 1
            with contextlib.suppress(SnakepitError):
                await act(world)
            await world.turn()
            world.submit()
            await world.settle()
            assert world.outcomes == {"call 0": "payload", "call 1": "payload"}
        finally:
            await world.stop()

    with no_failure_logged("snakepit_control_plane"):
        until_done(asyncio.wait_for(live(), 60), VirtualLoop)


def _messages(data: bytes) -> list[link_pb2.LinkRequest]:
    return [link_pb2.LinkRequest.FromString(piece) for piece in cut(data)]


@target(DecodeError, Aborted)
def hello(data: bytes) -> None:
    """The first message of a link, whoever it says it is."""
    said = link_pb2.LinkRequest.FromString(data)
    if said.frames and said.frames[0].hello.capsule.name == "c0":
        return  # No token is good for another pod: see tests/unit/control_plane/test_authentication.py.

    _beside_a_call(lambda world: _link(world, said))


async def _link(world: World, *messages: link_pb2.LinkRequest) -> None:
    servicer = LinkServicer(world.flow, world.fleet, world.store, "replica", Lanes(), Door(Gate(), Access()))
    context: Any = Context(*messages)
    await servicer.Link(None, context)


@target(DecodeError, Aborted)
def of_a_client(data: bytes) -> None:
    """Messages of a client's link, behind its hello."""
    messages = _messages(data)
    _beside_a_call(lambda world: _link(world, CLIENT, *messages))


@target(DecodeError)
def of_an_agents_link(data: bytes) -> None:
    messages = _messages(data)

    async def say(world: World) -> None:
        link = Link(lambda _, frames: None, name="odd")
        capsule = await world.fleet.join(link_pb2.Hello(protocol=1, role=link_pb2.ROLE_AGENT, capsule=CAPSULE), link.send)
        peer = AgentPeer(world.flow, world.fleet, world.store, capsule, link, Door(Gate(), Access()))
        await _say(peer, link, messages, world)
        world.fleet.lose(world.pool, capsule, "it is over")

    _beside_a_call(say)


async def _say(peer: AgentPeer, link: Link, messages: list[link_pb2.LinkRequest], world: World) -> None:
    for message in messages:
        if link.is_open:
            peer.on_frames(link, message.frames)
            await asyncio.sleep(0)
    await world.turn()
    link.close("it is over")
    peer.closed()
