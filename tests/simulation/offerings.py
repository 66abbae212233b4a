"""What must hold for tools that clients offer: a name is one client's, a tool runs once, for whom it is offered and no longer than its
caller waits, and what was withdrawn is gone everywhere. Violations go to the account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snakepit.client.offers import Offer
from snakepit.client.peer import Peer
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.catalogue import Scope
from support.simulated_agent import POOL

if TYPE_CHECKING:
    from simulation.account import Account, Attempt, Run
    from simulation.replica import Replica

TRAVEL_SECONDS = 1.0
"""A deadline travels as what is left of it."""


@dataclass(frozen=True)
class _Frame:
    call_id: str
    session_id: str
    deadline: float


@dataclass(eq=False)
class OfferedRun:
    """One execution of a client's tool, with what the account looks at in runs of workers. `frame`: the call, as the replica sent it."""

    attempt: Attempt
    frame: _Frame
    token: str
    tool: str
    began: float
    machine: None = None
    agent: str = ""
    uid: str = ""
    ended: float = 0.0
    due: float = 0.0
    """When at the latest whoever asked should begin to hear of its end; 0: it runs."""
    stopped: bool = False
    free: bool = False
    chunks: int = 0
    waits: float = 0.0
    """Since when it may not send its next chunk."""
    complete: bool = False

    def around(self) -> Iterator[Run]:
        """The runs that wait for it, the nearest first."""
        assert self.attempt.parent is not None
        yield self.attempt.parent
        yield from self.attempt.parent.around()


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

    def died(self, client: str, later: float) -> None:
        """What it said a moment before may have gone with it: the replicas notice that, too, with its end."""
        for which in [which for which, at in self.gone.items() if which[0] == client and at > self._now() - 1.0]:
            self.gone[which] = self._now() + later

    def accepted(self, peer: Peer, client: str, number: int) -> None:
        """A replica has taken an offer; of two that are open for the same calls, only one may have the name."""
        offer = self.open.get((client, number))
        for name in offer.tools if offer is not None else ():
            key = peer.replica.id, offer.pool, offer.session_id, name
            before, which = self._accepted.get(key, (None, ("", 0)))
            if before is not None and which != (client, number) and which in self.open and _is_whole(before):
                self.account.violated(f"{name} of offer {which} was taken by offer {(client, number)} at {peer.replica.address}")
            self._accepted[key] = peer, (client, number)

    def begun(self, name: str, of: str, scope: Scope, call: link_pb2.Call) -> OfferedRun:
        attempt, account = self.account.attempts[of], self.account
        runs: list[Any] = account.runs[attempt.call_id]
        frame = _Frame(call.call_id, "", self._now() + call.timeout_seconds)
        run = OfferedRun(attempt, frame, f"{of}/{len(runs)}", name, self._now())
        if runs:
            account.violated(f"{of} runs again, at a client")
        if name != attempt.tool:
            account.violated(f"{of} is a call of {attempt.tool}, and runs {name}")
        if attempt.ended and not attempt.cut_off and not attempt.started:
            account.violated(f"{of} begins at a client after its caller was told that it never would ({attempt.outcome})")
        self._check_scope(run, scope)
        longer = self._now() + call.timeout_seconds - attempt.due
        if not call.timeout_seconds or longer > TRAVEL_SECONDS:
            account.violated(f"{of} may run {longer:.2f} s longer than its caller waits")
        runs.append(run)
        self._runs.append(run)
        account.running[""].append(run)  # type: ignore[arg-type]
        return run

    def _check_scope(self, run: OfferedRun, scope: Scope) -> None:
        """A session's tools are for calls that are made in it."""
        sessions = [Scope(POOL, each.frame.session_id) for each in run.around()]
        if scope.session_id and scope not in sessions:
            self.account.violated(f"{run.token} runs a tool for {scope}, in which it was not made")

    def stopped(self, run: OfferedRun, noticed: float) -> None:
        run.stopped, run.due = True, self._now() + noticed

    def end(self, run: OfferedRun, noticed: float) -> None:
        run.ended, run.due = self._now(), run.due or self._now() + noticed
        self.account.running[run.uid].remove(run)  # type: ignore[arg-type]

    def stalled(self, seconds: float) -> list[str]:
        """Streams that have waited so long until they may go on."""
        before = self._now() - seconds
        return [run.token for run in self._runs if run.waits and not run.ended and run.waits < before]

    def unanswered(self, seconds: float) -> list[str]:
        """Runs that ended so long ago, and whose end nobody has told to who asked."""
        before = self._now() - seconds
        self._runs = [run for run in self._runs if not run.attempt.ended]
        return [run.token for run in self._runs if run.due and run.due < before]

    def stale(self, replica: Replica) -> Iterator[tuple[str, float]]:
        """What a replica has on offer though nobody offers it any more, and for how long."""
        for provider, offers in replica.flow.nested.catalogue.offers.items():
            _, client = provider.client
            for number in offers:
                which = client, number
                if which not in self.open:
                    yield f"offer {number} of client {client}", self._now() - self.gone.get(which, 0.0)

    def missing(self, replica: Replica) -> Iterator[str]:
        """What a replica does not have on offer, though somebody offers it and none of its names is anybody else's there."""
        for (client, number), offer in self.open.items():
            workers = replica.flow.pools[offer.pool].tools if offer.pool in replica.flow.pools else {}
            found = [replica.flow.nested.catalogue.find(Scope(offer.pool, offer.session_id), name) for name in offer.tools]
            if not any(found) and workers.keys().isdisjoint(offer.tools):
                yield f"offer {number} of client {client}"


def _is_whole(peer: Peer) -> bool:
    """Neither end of the link can have noticed, or will notice, that it is broken."""
    connection = peer.replica.channel.connection  # type: ignore[attr-defined]
    return peer.link.is_open and connection.open and not connection.up.lost and not connection.down.lost
