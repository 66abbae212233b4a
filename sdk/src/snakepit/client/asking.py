"""Requests beside the links, which look something up or see to it: one RPC at one replica, or at every one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from snakepit._wire.status import Metadata, from_cancelled, from_rpc_error
from snakepit.client import local_errors
from snakepit.client.peer import Peer, is_broken
from snakepit.client.peers import Peers
from snakepit.errors import CallNotFound, SnakepitError, Status

ALL_SECONDS = 2.0
"""So long each replica has to answer what all of them are asked; half of it is for links that are still to be opened."""

_SILENT = (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)

R = TypeVar("R", bound=Message)


async def ask(peer: Peer, request: Message, answer: type[R], seconds: float, metadata: Metadata) -> R:
    """At this replica. Raises SnakepitError."""
    peer.replica.uses.begin()
    try:
        reply: R = await peer.rpc(request, answer)(request, timeout=seconds, metadata=metadata)
        return reply
    except grpc.RpcError as raised:
        error = from_rpc_error(raised)
    except asyncio.CancelledError:
        error = from_cancelled()
    finally:
        peer.replica.uses.end()
    raise local_errors.replica_lost(peer.replica.address, error.message) if is_broken(error) else error


async def ask_all(peers: Peers, request: Message, answer: type[R], metadata: Callable[[], Metadata]) -> tuple[list[R], tuple[str, ...]]:
    """At every replica: what they answer, and the addresses of those that don't in time. One that knows of no such call says nothing.

    Raises what another one says against it; where none answers, how the first one failed.
    """
    peers.check_loop()
    await peers.every_link(ALL_SECONDS / 2)
    if not peers.all:
        await peers.wait(None)
    asked, brought = peers.all, metadata()

    async def try_(peer: Peer) -> R | SnakepitError:
        try:
            return await ask(peer, request, answer, ALL_SECONDS, brought)
        except SnakepitError as error:
            return error

    answers = await asyncio.gather(*map(try_, asked))
    replies = [each for each in answers if not isinstance(each, SnakepitError)]
    failures = {peer.replica.address: each for peer, each in zip(asked, answers, strict=True) if isinstance(each, SnakepitError)}
    silent = tuple(address for address, each in failures.items() if each.status in _SILENT)
    if refusals := [each for address, each in failures.items() if address not in silent and not isinstance(each, CallNotFound)]:
        raise refusals[0]
    if not replies:
        raise next((each for each in failures.values() if isinstance(each, CallNotFound)), next(iter(failures.values())))
    return replies, silent
