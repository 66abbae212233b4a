"""Clients that offer tools to workers: the SDK's own connection, offers and serving. They withdraw, go away, die and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from simulation.contents import said
from simulation.tools import MOST_CHUNKS, STREAMED

from snakepit import tool
from snakepit._wire.dial import Lanes
from snakepit.client.codec import Large
from snakepit.client.connection import Connection
from snakepit.client.offers import Offer, Offers
from snakepit.client.peer import Peer
from snakepit.client.peers import Peers
from snakepit.client.serving import Serving, within
from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.catalogue import Scope
from support.simulated_agent import POOL

if TYPE_CHECKING:
    from simulation.faults import Plan
    from simulation.network import Network
    from simulation.offerings import OfferedRun, Offerings

GONE_SECONDS = 1.0
"""So long after a client has withdrawn a tool may a call of it still come: a word to the replica, and one back, on the slowest links."""

SECONDS = (0.0, 0.001, 0.05, 0.05, 0.05, 1.0, 8.0, 1e6)
"""How long a client's tool runs; the last is until it is told to stop."""

OTHER = "default/other"


def scopes(plan: Plan) -> list[Scope]:
    """For whom tools are offered. Sessions are of the first pool; one of the other that has the same name is none of them."""
    sessions = [Scope(POOL, "a"), Scope(POOL, "b")] if plan.sessions else []
    others = [Scope(OTHER), Scope(OTHER), Scope(OTHER, "a")] if plan.others else []
    return [Scope(POOL), Scope(POOL), Scope(POOL), *sessions, *others]


class _Offers(Offers):
    """The SDK's, which says what it knows."""

    def __init__(self, peers: Peers, offerings: Offerings) -> None:
        super().__init__(peers)
        self._offerings = offerings
        self._gone: dict[tuple[str, str, str], float] = {}

    def end(self, offer: Offer) -> None:
        if offer.number in self.open:
            self._offerings.ended(self.client, offer.number)
            for name in offer.tools:
                self._gone[offer.pool, offer.session_id, name] = asyncio.get_running_loop().time()
        super().end(offer)

    def replied(self, peer: Peer, reply: link_pb2.OfferReply) -> None:
        if not reply.HasField("error"):
            self._offerings.accepted(peer, self.client, reply.id)
        super().replied(peer, reply)

    def called(self, call: link_pb2.Call) -> None:
        """Nothing may come any more for what was withdrawn long ago."""
        if self.find(call.pool, call.session_id, call.tool) is None:
            gone = max(self._gone.get((call.pool, session, call.tool), 0.0) for session in (call.session_id, ""))
            if (late := asyncio.get_running_loop().time() - gone) > GONE_SECONDS:
                self._offerings.account.violated(f"{call.tool} is called {late:.2f} s after its client has withdrawn it")


class _Offer(Offer):
    """The SDK's, which says when it is made known."""

    open: dict[tuple[str, int], Offer]

    def frame(self, provider: str, *, withdrawn: bool = False) -> link_pb2.Frame:
        if not withdrawn:
            self.open[provider, self.number] = self
        return super().frame(provider, withdrawn=withdrawn)


class _InOrder(dict[Any, None]):
    """A set whose order the seed determines."""

    add = dict.setdefault

    def discard(self, each: Any) -> None:
        self.pop(each, None)


class _Serving(Serving):
    def take(self, peer: Peer, kind: str | None, frame: link_pb2.Frame) -> bool:
        if kind == "call":
            self.offers.called(frame.call)  # type: ignore[attr-defined]
        return super().take(peer, kind, frame)


class Offerer:
    """One client after another under one name."""

    def __init__(self, name: str, offerings: Offerings, network: Network, plan: Plan) -> None:
        self.name, self.offerings, self.network, self.plan = name, offerings, network, plan
        self._life: _Life | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        life = self._life = _Life(self)
        for _ in range(2):
            self._spawn(life.offer())

    def move(self) -> None:
        """Whatever it thinks of next."""
        kind, life, chance = self.network.chance.random(), self._life, self.network.chance
        if life is None:
            self.start()
        elif kind < 0.5 or not life.open:
            self._spawn(life.offer())
        elif kind < 0.8:
            self._spawn(life.withdraw(life.open.pop(chance.randrange(len(life.open)))))
        elif kind < 0.9:
            self._spawn(self.stop())
        else:
            self._spawn(self._die())

    async def stop(self) -> None:
        """As a program ends that was told to."""
        life, self._life = self._life, None
        if life is not None:
            self.offerings.account.note(f"{self.name} goes away")
            await self._leave(life)

    async def _die(self) -> None:
        """The process is killed: nothing that it still does reaches anybody, and replicas may notice late."""
        life, self._life, chance = self._life, None, self.network.chance
        if life is None:
            return
        self.offerings.account.note(f"{self.name} dies")
        life.noticed = chance.random() * chance.choice([0.01, 1.0, 5.0])
        for each in [each for each in self.network.connections if each.dialler == self.name]:
            each.cut(arrives=False, up_notices=life.noticed, down_notices=0.0)
        await self._leave(life)

    async def _leave(self, life: _Life) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await life.end()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"move of {self.name}")
        self._tasks[task] = None
        task.add_done_callback(self._moved)

    def _moved(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.offerings.account.problems.append(f"{self.name}: {error!r}")

    def left_over(self) -> Iterator[str]:
        if self._tasks:
            yield f"{self.name} moves"
        if self._life is not None and (left := self._life.left_over()):
            yield f"{self.name} {left}"


class _Life:
    """One process. `noticed`: how long after its end replicas know of it."""

    def __init__(self, offerer: Offerer) -> None:
        self.open: list[Offer] = []
        self.noticed = 0.0
        self._over = False
        self._name, self._offerings, self._chance = offerer.name, offerer.offerings, offerer.network.chance
        self._names, self._calls, self._scopes = offerer.plan.offers, offerer.plan.calls, scopes(offerer.plan)
        # One that can't reach the lane port, too.
        lanes = offerer.network.chance.choice([Lanes.WANTED, Lanes.OFF])
        self._peers = Peers(f"{offerer.name}.replicas:7800", token_file=None, connect_seconds=3.0, lanes=lanes)
        self._offers = _Offers(self._peers, self._offerings)
        self._serving = self._peers.serves = _Serving(self._offers)
        self._connection = Connection(self._peers)
        self._peers.start()

    async def offer(self) -> None:
        scope, account = self._chance.choice(self._scopes), self._offerings.account
        names = self._chance.sample(self._names, self._chance.randint(1, min(2, len(self._names))))
        offer = _Offer(self._offers, [self._function(name, scope) for name in names], scope.pool, scope.session_id)
        offer.open = self._offerings.open
        offer.running = _InOrder()  # type: ignore[assignment]
        try:
            await offer.__aenter__()
        except SnakepitError as error:
            account.note(f"{self._name} may not offer {offer.names} for {scope}: {error}")
            return
        self.open.append(offer)
        account.note(f"{self._name} offers {offer.names} for {scope}")

    async def withdraw(self, offer: Offer) -> None:
        self._offerings.account.note(f"{self._name} withdraws {offer.names}")
        await offer.__aexit__(None, None, None)

    async def end(self) -> None:
        self._over = True
        for number in list(self._offers.open):
            self._offerings.ended(self._offers.client, number, self.noticed)
        self._offerings.died(self._offers.client, self.noticed)
        await self._connection.stop()

    def left_over(self) -> str:
        running, asked = self._serving.running, self._offers.replies
        return f"runs {[each.call.call_id for each in running.values()]}, asks {list(asked)}" if running or asked else ""

    # ---- its tools

    def _function(self, name: str, scope: Scope) -> Callable[..., Any]:
        async def offered(of: str) -> str:
            with self._running(name, of, scope) as run:
                await self._work(run)
                return said(run.token).decode()

        async def streamed(of: str) -> AsyncIterator[str]:
            with self._running(name, of, scope) as run:
                for index in range(self._chance.randint(0, MOST_CHUNKS)):
                    if self._chance.random() < 0.2:
                        await self._work(run)
                    run.chunks += 1
                    run.waits = asyncio.get_running_loop().time()
                    yield said(run.token, index).decode()
                    run.waits = 0.0
                run.complete = True

        return tool(name=name)(streamed if name in STREAMED else offered)

    @contextlib.contextmanager
    def _running(self, name: str, of: str, scope: Scope) -> Iterator[OfferedRun]:
        serves = within.get()
        assert serves is not None
        run = self._offerings.begun(name, of, scope, serves.call)
        self._offerings.account.note(f"{run.token} {name} begins at {self._name}")
        try:
            yield run
        finally:
            self._offerings.end(run, self.noticed)

    async def _work(self, run: OfferedRun) -> None:
        """It takes its time, or calls a worker's tool, and may fail."""
        kind, seconds, deaf = self._chance.random(), self._chance.choice(SECONDS), self._chance.random() < 0.3
        calls: asyncio.Future[None] | None = None
        try:
            if kind < 0.5 and self._calls:
                calls = asyncio.ensure_future(self._call_back(run))
                await asyncio.shield(calls)
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._offerings.stopped(run, self.noticed)
            if self._over or not deaf:
                if calls is not None:
                    calls.cancel()
                raise
            await asyncio.wait([calls] if calls is not None else [asyncio.ensure_future(asyncio.sleep(1.0))])  # It does not listen.
        if kind > 0.95:
            raise ValueError("no")

    async def _call_back(self, run: OfferedRun) -> None:
        serves, account = within.get(), self._offerings.account
        if serves is None or self._serving.around() is None:  # It would be no nested call.
            return
        session = self._chance.choice([serves.call.session_id, ""])
        name, timeout = self._chance.choice(self._calls), self._chance.choice([0.05, 1.0, 8.0])
        attempt = account.nested(run, name, POOL, timeout)  # type: ignore[arg-type]
        arguments = common_pb2.Payload(content_type="application/json", data=attempt.arguments)
        call = link_pb2.Call(call_id=attempt.call_id, pool=POOL, tool=name, session_id=session, arguments=arguments)
        try:
            now = self._peers.check_loop()
            answer = await self._connection.call(link_pb2.Frame(call=call), now, now + timeout)
        except SnakepitError as error:
            if self._over:
                account.cut_off(attempt, self.noticed)
            else:
                account.settled(attempt, "error", error.reason, int(error.started), error.message, str(error.details.get("how", "")))
        except asyncio.CancelledError:
            account.cut_off(attempt, self.noticed)
            raise
        else:
            if isinstance(answer, Large):
                account.delivered_result(attempt, answer.payload.data)
            else:
                account.answered(attempt, answer)
