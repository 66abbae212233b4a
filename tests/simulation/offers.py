"""Clients that offer tools to workers: the SDK's own connection, offers and serving. They withdraw, go away, die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulation.contents import said

from snakepit import tool
from snakepit.client.connection import Connection
from snakepit.client.offers import Offer, Offers
from snakepit.client.peer import Peer
from snakepit.client.serving import Serving, within
from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.catalogue import Scope
from support.simulated_agent import POOL

if TYPE_CHECKING:
    from simulation.account import Account, Attempt
    from simulation.network import Network
    from simulation.replica import Replica

GONE_SECONDS = 1.0
"""So long after a client has withdrawn a tool may a call of it still come: a word to the replica, and one back, on the slowest links."""

TRAVEL_SECONDS = 1.0
"""A deadline travels as what is left of it."""

SECONDS = (0.0, 0.001, 0.05, 0.05, 0.05, 1.0, 8.0, 1e6)
"""How long a client's tool runs; the last is until it is told to stop."""

SCOPES = (*[Scope(POOL)] * 4, *[Scope("default/other")] * 2, Scope(POOL, "a"), Scope(POOL, "b"), Scope("default/other", "a"))
"""For whom. Sessions are of the first pool: those of the other that have the same name are none of theirs."""


@dataclass(eq=False)
class OfferedRun:
    """One execution of a client's tool, as far as the account compares it with runs of workers. `offerer`: a life of a client."""

    attempt: Attempt
    offerer: str
    token: str
    tool: str
    began: float
    agent: str = ""
    uid: str = ""
    ended: float = 0.0
    due: float = 0.0
    """When at the latest whoever asked should begin to hear of its end; 0: it runs."""
    stopped: bool = False
    chunks: int = 0
    complete: bool = False


class Offerings:
    """What all clients together offer, as they know it. `gone`: since when an offer is open no more, by client and number."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.open: dict[tuple[str, int], Offer] = {}
        self.gone: dict[tuple[str, int], float] = {}
        self._accepted: dict[tuple[str, str, str, str], tuple[Peer, tuple[str, int]]] = {}
        self._runs: list[OfferedRun] = []
        self._now = asyncio.get_running_loop().time

    def ended(self, client: str, number: int, later: float = 0.0) -> None:
        """`later`: the replicas notice it so much later."""
        if self.open.pop((client, number), None) is not None:
            self.gone[client, number] = self._now() + later

    def accepted(self, peer: Peer, client: str, number: int) -> None:
        """A replica has taken an offer; of two that are open for the same calls, only one may have the name."""
        offer = self.open.get((client, number))
        for name in offer.tools if offer is not None else ():
            key = peer.replica.id, offer.pool, offer.session_id, name
            before, which = self._accepted.get(key, (None, ("", 0)))
            if before is not None and which != (client, number) and which in self.open and _is_whole(before):
                self.account.violated(f"{name} of offer {which} was taken by offer {(client, number)} at {peer.replica.address}")
            self._accepted[key] = peer, (client, number)

    def begun(self, offerer: str, name: str, of: str, scope: Scope, call: link_pb2.Call) -> OfferedRun:
        attempt, account = self.account.attempts[of], self.account
        runs: list[Any] = account.runs[attempt.call_id]
        run = OfferedRun(attempt, offerer, f"{of}/{len(runs)}", name, self._now())
        account.note(f"{run.token} {name} begins at {offerer}")
        if runs:
            account.violated(f"{of} runs again, at a client")
        if name != attempt.tool:
            account.violated(f"{of} is a call of {attempt.tool}, and runs {name}")
        if attempt.ended and not attempt.cut_off and not attempt.started:
            account.violated(f"{of} begins at a client after its caller was told that it never would ({attempt.outcome})")
        self._check_scope(attempt, scope)
        longer = self._now() + call.timeout_seconds - attempt.due
        if not call.timeout_seconds or longer > TRAVEL_SECONDS:
            account.violated(f"{of} may run {longer:.2f} s longer than its caller waits")
        runs.append(run)
        self._runs.append(run)
        account.running[""].append(run)  # type: ignore[arg-type]
        return run

    def _check_scope(self, attempt: Attempt, scope: Scope) -> None:
        """A session's tools are for calls that are made in it."""
        assert attempt.parent is not None
        sessions = [Scope(POOL, run.frame.session_id) for run in (attempt.parent, *attempt.parent.around())]
        if scope.session_id and scope not in sessions:
            self.account.violated(f"{attempt.call_id} runs a tool for {scope}, in which it was not made")

    def end(self, run: OfferedRun, noticed: float) -> None:
        run.ended, run.due = self._now(), run.due or self._now() + noticed
        self.account.running[run.uid].remove(run)  # type: ignore[arg-type]

    def unanswered(self, seconds: float) -> list[str]:
        """Runs that ended so long ago, and whose end nobody has told to who asked."""
        before = self._now() - seconds
        self._runs = [run for run in self._runs if not run.attempt.ended]
        return [run.token for run in self._runs if run.due and run.due < before]

    def stale(self, replica: Replica) -> Iterator[tuple[str, float]]:
        """What a replica has on offer though nobody offers it any more, and for how long."""
        for provider, offers in replica.links.nested.catalogue._offers.items():
            for number in offers:
                which = provider.client, number
                if which not in self.open:
                    yield f"offer {number} of client {provider.client}", self._now() - self.gone.get(which, 0.0)

    def missing(self, replica: Replica) -> Iterator[str]:
        """What a replica does not have on offer, though somebody offers it and none of its names is anybody else's there."""
        for (client, number), offer in self.open.items():
            workers = replica.router.pools[offer.pool].tools if offer.pool in replica.router.pools and not offer.session_id else {}
            found = [replica.links.nested.catalogue.find(Scope(offer.pool, offer.session_id), name) for name in offer.tools]
            if not any(found) and workers.keys().isdisjoint(offer.tools):
                yield f"offer {number} of client {client}"


def _is_whole(peer: Peer) -> bool:
    """Neither end of the link can have noticed, or will notice, that it is broken."""
    connection = peer.replica.channel.connection  # type: ignore[attr-defined]
    return peer.link.is_open and connection.open and not connection.up.lost and not connection.down.lost


class _Offers(Offers):
    """The SDK's, which says what it knows."""

    def __init__(self, connection: Connection, offerings: Offerings) -> None:
        super().__init__(connection)
        self._offerings = offerings
        self._gone: dict[tuple[str, str, str], float] = {}

    def end(self, offer: Offer) -> None:
        if offer.number in self._open:
            self._offerings.ended(self.client, offer.number)
            for name in offer.tools:
                self._gone[offer.pool, offer.session_id, name] = asyncio.get_running_loop().time()
        super().end(offer)

    def replied(self, peer: Peer, reply: link_pb2.OfferReply) -> None:
        if not reply.HasField("error"):
            self._offerings.accepted(peer, self.client, reply.id)
        super().replied(peer, reply)

    async def _ask(self, peer: Peer, offer: Offer) -> SnakepitError | None:
        self._offerings.open[self.client, offer.number] = offer
        return await super()._ask(peer, offer)

    def called(self, call: link_pb2.Call) -> None:
        """Nothing may come any more for what was withdrawn long ago."""
        if self.find(call.pool, call.session_id, call.tool) is None:
            gone = max(self._gone.get((call.pool, session, call.tool), 0.0) for session in (call.session_id, ""))
            if (late := asyncio.get_running_loop().time() - gone) > GONE_SECONDS:
                self._offerings.account.violated(f"{call.tool} is called {late:.2f} s after its client has withdrawn it")


class _Serving(Serving):
    def take(self, peer: Peer, kind: str | None, frame: link_pb2.Frame) -> bool:
        if kind == "call":
            self.offers.called(frame.call)  # type: ignore[attr-defined]
        return super().take(peer, kind, frame)


class Offerer:
    """One client after another under one name. `names`: of the tools that it offers, some of which others have too."""

    def __init__(self, name: str, offerings: Offerings, network: Network, names: Sequence[str]) -> None:
        self.name, self._offerings, self._network, self._names = name, offerings, network, names
        self._chance = network.chance
        self._connection: Connection | None = None
        self._lives = 0
        self._noticed: dict[int, float] = {}
        self._open: list[Offer] = []
        self._tasks: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        self._lives += 1
        connection = self._connection = Connection(f"{self.name}.replicas:7800", token_file=None, connect_seconds=3.0)
        connection.serving = _Serving(_Offers(connection, self._offerings))
        connection.start()
        for _ in range(2):
            self._spawn(self._offer())

    def move(self) -> None:
        """Whatever it thinks of next."""
        kind = self._chance.random()
        if self._connection is None:
            self.start()
        elif kind < 0.5 or not self._open:
            self._spawn(self._offer())
        elif kind < 0.8 and self._open:
            self._spawn(self._withdraw(self._open.pop(self._chance.randrange(len(self._open)))))
        elif kind < 0.9:
            self._spawn(self.stop())
        else:
            self._spawn(self.die())

    async def _offer(self) -> None:
        connection, scope = self._connection, self._chance.choice(SCOPES)
        assert connection is not None
        assert connection.serving is not None
        names = self._chance.sample(self._names, self._chance.randint(1, min(2, len(self._names))))
        functions = [self._function(name, scope) for name in dict.fromkeys(names)]
        offer = Offer(connection.serving.offers, functions, scope.pool, scope.session_id)
        try:
            await offer.__aenter__()
        except SnakepitError as error:
            self._offerings.account.note(f"{self.name} may not offer {offer.names} for {scope}: {error}")
            return
        self._open.append(offer)
        self._offerings.account.note(f"{self.name} offers {offer.names} for {scope}")

    async def _withdraw(self, offer: Offer) -> None:
        self._offerings.account.note(f"{self.name} withdraws {offer.names}")
        await offer.__aexit__(None, None, None)

    async def stop(self) -> None:
        """As a program ends that was told to."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._offerings.account.note(f"{self.name} goes away")
            await self._leave(connection)

    async def die(self) -> None:
        """The process is killed: nothing that it still does reaches anybody, and replicas may notice late."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._offerings.account.note(f"{self.name} dies")
        noticed = self._chance.random() * self._chance.choice([0.01, 1.0, 5.0])
        for each in [each for each in self._network.connections if each.dialler == self.name]:
            each.cut(arrives=False, up_notices=noticed, down_notices=0.0)
        await self._leave(connection, noticed)

    async def _leave(self, connection: Connection, noticed: float = 0.0) -> None:
        self._noticed[self._lives] = noticed
        self._lives += 1
        self._open.clear()
        offers: Any = connection.serving.offers if connection.serving is not None else None
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        for number in list(offers._open):
            self._offerings.ended(offers.client, number, noticed)
        await connection.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"move of {self.name}")
        self._tasks[task] = None
        task.add_done_callback(self._moved)

    def _moved(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._offerings.account.problems.append(f"{self.name}: {error!r}")

    # ---- its tools

    def _function(self, name: str, scope: Scope) -> Callable[..., Any]:
        async def offered(of: str) -> str:
            serves = within.get()
            assert serves is not None
            life = self._lives
            run = self._offerings.begun(f"{self.name} {life}", name, of, scope, serves.call)
            try:
                return await self._run(run)
            finally:
                self._offerings.end(run, self._noticed.get(life, 0.0))

        return tool(name=name)(offered)

    async def _run(self, run: OfferedRun) -> str:
        life, seconds, kind = self._lives, self._chance.choice(SECONDS), self._chance.random()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            run.stopped, run.due = True, asyncio.get_running_loop().time() + self._noticed.get(life, 0.0)
            if kind > 0.1 or life != self._lives:
                raise
            await asyncio.sleep(1.0)  # It does not listen.
        if kind > 0.9:
            raise ValueError("no")
        return said(run.token).decode()

    def left_over(self) -> Iterator[str]:
        serving: Any = self._connection.serving if self._connection is not None else None
        if self._tasks:
            yield f"{self.name} moves"
        if serving is not None and (serving._running or serving.offers._replies):
            yield f"{self.name} runs {[each.call.call_id for each in serving._running.values()]}, asks {list(serving.offers._replies)}"
