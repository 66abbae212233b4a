"""Tools that a client offers to workers: registered at every replica, whole or not at all, for as long as the offer is open.

What a called function does is run in `serving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from snakepit._names import new_id
from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit._wire.messages import tool_to_wire
from snakepit._wire.status import from_frame
from snakepit.author.adapter import AdapterError
from snakepit.author.tools import Tool, as_tool
from snakepit.client.peer import Peer
from snakepit.client.peers import Peers
from snakepit.client.within import Within
from snakepit.errors import InvalidArguments, ServerUnavailable, SnakepitError, Started
from snakepit.v1 import link_pb2

REPLY_SECONDS = 5.0
"""A replica says at once whether it takes an offer; one that says nothing for so long has lost it."""

EVERY_REPLICA_SECONDS = 1.0
"""An offer that begins waits so long for links that are being dialled; later ones get it when they open."""

AGAIN_SECONDS = 1.0
"""A replica that linked later and refused is asked again this often."""

log = logging.getLogger(__name__)

Functions = Callable[..., Any] | Iterable[Callable[..., Any]]


class Offer:
    """`async with client.offer(...)`: the tools can be called inside the block. `names` are those of the tools."""

    def __init__(self, offers: Offers, functions: Functions, pool: str, session_id: str) -> None:
        self.pool = pool
        self.session_id = session_id
        self.tools = _tools(functions)
        self.number = 0
        self.running: set[Within] = set()
        self._offers = offers

    @property
    def names(self) -> list[str]:
        return sorted(self.tools)

    async def __aenter__(self) -> Self:
        """Raises InvalidArguments where a name is taken, ToolQuota, PoolNotFound; then nothing is offered."""
        await self._offers.begin(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Calls that run are cancelled; who waits for them gets WORKER_LOST. A blocking function runs on in its thread."""
        self._offers.end(self)
        others = [each for each in self.running if each.task is not asyncio.current_task()]
        for each in others:
            each.stop("CANCELLED")
        await asyncio.gather(*[each.task for each in others if each.task is not None], return_exceptions=True)

    def frame(self, provider: str, *, withdrawn: bool = False) -> link_pb2.Frame:
        tools = [] if withdrawn else [tool_to_wire(tool.info) for tool in self.tools.values()]
        offer = link_pb2.Offer(tools=tools, id=self.number, provider=provider, pool=self.pool, session_id=self.session_id)
        return link_pb2.Frame(offer=offer)


class Offers:
    """All offers of one client. `client` is its random name, the same on all of its links."""

    def __init__(self, peers: Peers) -> None:
        self.client = new_id()
        self._peers = peers
        self._numbers = itertools.count(1)
        self.open: dict[int, Offer] = {}
        self.replies: dict[tuple[Peer, int], asyncio.Future[SnakepitError | None]] = {}
        self._tasks = Tasks()

    def find(self, pool: str, session_id: str, name: str) -> Offer | None:
        """Who offers that tool; the session's own comes before the pool's."""
        for session in dict.fromkeys((session_id, "")):
            for offer in self.open.values():
                if (offer.pool, offer.session_id) == (pool, session) and name in offer.tools:
                    return offer
        return None

    async def begin(self, offer: Offer) -> None:
        if offer.number:
            raise SnakepitError("this offer is open already, or was: make one per `async with`", started=Started.NO)
        await self._peers.peer()
        await self._peers.every_link(EVERY_REPLICA_SECONDS)
        offer.number = next(self._numbers)
        self.open[offer.number] = offer
        asked = self._peers.all
        try:
            refusals = await asyncio.gather(*[self._ask(peer, offer) for peer in asked])
        except BaseException:
            self.end(offer)
            raise
        refused = next((each for each in refusals if each is not None and not isinstance(each, ServerUnavailable)), None)
        if refused is None and refusals and all(refusals):
            refused = refusals[0]
        if refused is not None:
            self.end(offer)
            raise refused
        for peer in [peer for peer, refusal in zip(asked, refusals, strict=True) if refusal is not None]:
            self._tasks.spawn(self._insist(peer, offer))  # It says nothing now, or can't know whether the client may.

    def end(self, offer: Offer) -> None:
        """Withdraw it everywhere. Idempotent."""
        if self.open.pop(offer.number, None) is not None:
            for peer in self._peers.all:
                with contextlib.suppress(LinkClosed):
                    peer.link.send(offer.frame(self.client, withdrawn=True))

    def stop(self) -> None:
        self._tasks.cancel()

    # ---- links

    def linked(self, peer: Peer) -> None:
        """A link has opened: it gets every offer, and again where it refuses (somebody may have to leave first)."""
        for offer in self.open.values():
            self._tasks.spawn(self._insist(peer, offer))

    def unlinked(self, peer: Peer) -> None:
        for key in [key for key in self.replies if key[0] is peer]:
            _answer(self.replies.pop(key), ServerUnavailable("the link closed before the replica answered the offer"))

    def replied(self, peer: Peer, reply: link_pb2.OfferReply) -> None:
        waiting = self.replies.pop((peer, reply.id), None)
        if waiting is not None:
            _answer(waiting, from_frame(reply.error) if reply.HasField("error") else None)
        elif reply.HasField("error") and (offer := self.open.get(reply.id)) is not None:
            log.warning(
                "tools %s are not on offer any more at replica %s: %s", ", ".join(offer.names), peer.replica.address, reply.error.message
            )
            self._tasks.spawn(self._insist(peer, offer))

    async def _ask(self, peer: Peer, offer: Offer) -> SnakepitError | None:
        """What the replica has against it. ServerUnavailable: it has gone, or says nothing."""
        reply: asyncio.Future[SnakepitError | None] = asyncio.get_running_loop().create_future()
        self.replies[peer, offer.number] = reply
        try:
            peer.link.send(offer.frame(self.client))
            async with asyncio.timeout(REPLY_SECONDS):
                return await reply
        except (LinkClosed, TimeoutError) as error:
            return ServerUnavailable(f"the replica at {peer.replica.address} did not answer the offer: {error or 'time-out'}")
        finally:
            self.replies.pop((peer, offer.number), None)

    async def _insist(self, peer: Peer, offer: Offer) -> None:
        said = ""
        while offer.number in self.open and peer.link.is_open:
            refused = await self._ask(peer, offer)
            if refused is None:
                return
            said, before = str(refused), said
            level = logging.DEBUG if said == before else logging.WARNING
            log.log(level, "tools %s are not on offer at replica %s: %s", ", ".join(offer.names), peer.replica.address, refused)
            await asyncio.sleep(AGAIN_SECONDS)


def _answer(waiting: asyncio.Future[SnakepitError | None], answer: SnakepitError | None) -> None:
    if not waiting.done():
        waiting.set_result(answer)


def _tools(functions: Functions) -> Mapping[str, Tool]:
    """Raises InvalidArguments with a sentence that names the function."""
    tools: dict[str, Tool] = {}
    try:
        for each in [functions] if callable(functions) else functions:
            tool = as_tool(each)
            if tool.name in tools:
                raise InvalidArguments(f"tool {tool.name!r} is twice in this offer: give one another name with @tool(name=...)")
            tools[tool.name] = tool
    except AdapterError as error:
        raise InvalidArguments(str(error)) from error
    if not tools:
        raise InvalidArguments("there is nothing to offer: give a function, or several")
    return tools
