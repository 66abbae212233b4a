"""The control plane's replicas, as an operator hears them: they hold what they are told, and say what they have seen of capsules."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import grpc
from simulation.operator_api import Client
from simulation.operator_calls import Calls
from simulation.operator_nodes import Life

from snakepit._wire.messages import settings_digest
from snakepit.v1 import fleet_pb2, link_pb2, pool_pb2

SUSPECT_SECONDS = 5.0
LOST_SECONDS = 10.0
HELD_SECONDS = 100.0
"""While more than half of a pool's capsules are silent, none is lost before this."""
PUSH_SECONDS = 1.0
KNOWN_SECONDS = 10.0
"""From a name's change, until every operator has looked it up."""


class Broken(grpc.RpcError):
    """The stream has ended."""


class Seen(NamedTuple):
    """What a replica knows of a capsule."""

    uid: str
    pool: str
    incarnation: str
    liveness: int
    worker: bool
    running: int
    sessions: int
    draining: bool


class Replica:
    """`named`: its address is found. `silent`: it takes everything and answers nothing. `lag`: seconds until it sees what happens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.named = True
        self.up = True
        self.silent = False
        self.lag = 0.0
        self.delay = 0.0
        self.held: dict[str, link_pb2.PoolSettings] = {}
        self.digests: dict[str, bytes] = {}
        self.drained: frozenset[str] = frozenset()
        self.evicted: frozenset[str] = frozenset()
        self.seen: dict[str, Seen] = {}
        self.calls: list[Call] = []
        self.told_by: Client | None = None
        """Whose word it goes by: the last one's, for as long as nobody says otherwise."""
        self.pushing = False
        self.since = 0.0
        self.named_at = 0.0
        self.unheard_at: dict[str, float] = {}
        """Since when which operator hears nothing of it."""

    def take(self, request: fleet_pb2.SyncRequest) -> None:
        if request.complete:
            known = {each.pool for each in request.pools} | set(request.names)
            self.held = {name: each for name, each in self.held.items() if name in known}
        for each in request.pools:
            self.held[each.pool] = each
            self.digests[each.pool] = settings_digest(each)
        self.drained, self.evicted = frozenset(request.drain_capsules), frozenset(request.evicted_capsules)

    def state(self, pool: str, silence_held: bool, calls: Calls) -> fleet_pb2.PoolState:
        capsules = [(name, each) for name, each in sorted(self.seen.items()) if each.pool == pool]
        ready = [each for _, each in capsules if each.worker and each.liveness == pool_pb2.LIVENESS_LIVE]
        return fleet_pb2.PoolState(
            pool=pool_pb2.Pool(
                name=pool,
                generation=self.held[pool].generation,
                ready_workers=len(ready),
                total_slots=len(ready),
                busy_slots=sum(each.running for each in ready),
                sessions=sum(each.sessions for each in ready),
                available=bool(ready),
                queue_depth=calls.queue(self, pool),
            ),
            demand=calls.demand(self, pool),
            capsules=[self._capsule(name, each) for name, each in capsules],
            silence_held=silence_held,
            settings_digest=self.digests[pool],
        )

    def _capsule(self, name: str, seen: Seen) -> fleet_pb2.CapsuleState:
        return fleet_pb2.CapsuleState(
            name=name,
            pod_uid=seen.uid,
            incarnation=seen.incarnation,
            liveness=seen.liveness,  # type: ignore[arg-type]
            draining=seen.draining,
            running=seen.running,
            sessions=seen.sessions,
            workers=[] if seen.worker else [pool_pb2.Worker(id=f"{name}/0", state=pool_pb2.WORKER_STATE_STARTING)],
            ready_workers=1 if seen.worker else 0,
        )


class Call:
    """An operator's stream to one replica."""

    def __init__(self, plane: Plane, replica: Replica, client: Client) -> None:
        self._plane, self.replica, self.client = plane, replica, client
        self._answers: asyncio.Queue[fleet_pb2.SyncResponse | Broken] = asyncio.Queue()
        self._version = 0
        self._told: dict[str, fleet_pb2.PoolState] = {}
        """What the last answer said, or left out as it was the same."""
        self._states: dict[str, fleet_pb2.PoolState] = {}
        """What the operator has read."""
        self.reign = client.reign
        self.begun = self._last = plane.now()
        self.harmed = False
        """Something of it may have been lost, or may take long."""
        self.serving: dict[str, int] | None = None
        self.lost: set[str] = set()
        self.draining: set[str] = set()
        self.wanted: set[str] = set()
        """Pools of which a call waits or runs there."""
        self.broken = False

    async def write(self, request: fleet_pb2.SyncRequest) -> None:
        await asyncio.sleep(self.replica.delay)
        if self.broken or self.client.dead:
            raise Broken
        if not self.replica.silent:
            self.replica.take(request)
            self._plane.drain(self.replica)
            self.replica.told_by = self.client
            self._plane.on_told(self.client, self.reign, request)
            self._version = request.version
            self._later(partial(self.answer, brief=request.changes_only))

    async def read(self) -> fleet_pb2.SyncResponse:
        answer = await self._answers.get()
        if isinstance(answer, Broken):
            raise answer
        self._states = {**(self._states if answer.partial else {}), **{each.pool.name: each for each in answer.pools}}
        capsules = [each for state in self._states.values() for each in state.capsules]
        self.serving = {each.pod_uid: each.running for each in capsules if each.liveness == pool_pb2.LIVENESS_LIVE and each.ready_workers}
        self.lost = {each.pod_uid for each in capsules if each.liveness == pool_pb2.LIVENESS_LOST}
        self.draining = {each.pod_uid for each in capsules if each.draining}
        self.wanted = {name for name, state in self._states.items() if state.pool.queue_depth or state.pool.busy_slots}
        self.client.hears()
        return answer

    def answer(self, *, brief: bool) -> None:
        """`brief`: with what has changed since the last one, unless there is none, or a pool has gone."""
        if self.broken or self.replica.silent or not self.replica.up:
            return
        states = {pool: self.replica.state(pool, self._plane.holds(pool), self._plane.calls) for pool in self.replica.held}
        brief = brief and bool(self._told) and self._told.keys() <= states.keys()
        told = [each for pool, each in states.items() if not brief or each != self._told.get(pool)]
        self._told = states
        response = fleet_pb2.SyncResponse(
            replica=self.replica.name, session_store_ready=True, pools=told, version=self._version, partial=brief
        )
        self._later(lambda: self._answers.put_nowait(response))

    def end(self) -> None:
        self.broken = True
        self._answers.put_nowait(Broken())

    def _later(self, act: Any) -> None:
        """In the order in which it was sent."""
        self._last = max(self._last + 1e-6, self._plane.now() + self.replica.delay)
        asyncio.get_running_loop().call_at(self._last, act)


class Capsule:
    """What is true of one, for all replicas. `silent`: since when nobody hears it."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.silent: float | None = None
        self.liveness: int = pool_pb2.LIVENESS_LIVE


class Plane:
    """All replicas. `cut`: operators that reach none of them."""

    def __init__(self, chance: random.Random, count: int) -> None:
        self._chance = chance
        self.replicas = [Replica(f"replica-{number}") for number in range(count)]
        self.calls = Calls(self, chance)
        self.capsules: dict[str, Capsule] = {}
        """By pod uid."""
        self.cut: set[str] = set()
        self.nameless = False
        self.on_drain: Callable[[Life], None] = lambda life: None
        """An agent is told to drain."""
        self.on_told: Callable[[Client, int, fleet_pb2.SyncRequest], None] = lambda client, reign, request: None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # ---- capsules

    def changed(self, life: Life) -> None:
        capsule = self.capsules.get(life.uid)
        if life.gone or life.ended or life.incarnation == 0:
            if self.capsules.pop(life.uid, None) is not None:
                self._spread(life, None)
            return
        if capsule is None:
            capsule = self.capsules[life.uid] = Capsule(life)
        down = life.node is not None and life.node.down
        if not down:
            capsule.silent, capsule.liveness = None, pool_pb2.LIVENESS_LIVE
        elif capsule.silent is None:
            capsule.silent = self.now()
            asyncio.get_running_loop().call_later(SUSPECT_SECONDS, self._overdue, capsule, capsule.silent)
            asyncio.get_running_loop().call_later(LOST_SECONDS, self._overdue, capsule, capsule.silent)
        if not down:
            self._spread(life, capsule)

    def _overdue(self, capsule: Capsule, since: float) -> None:
        if capsule.silent != since or self.capsules.get(capsule.life.uid) is not capsule:
            return
        waited = self.now() - since
        if waited < LOST_SECONDS:
            capsule.liveness = pool_pb2.LIVENESS_SUSPECT
        elif self.holds(capsule.life.pool) and waited < HELD_SECONDS:
            asyncio.get_running_loop().call_later(5.0, self._overdue, capsule, since)
            return
        else:
            capsule.liveness = pool_pb2.LIVENESS_LOST
        self._spread(capsule.life, capsule)

    def holds(self, pool: str) -> bool:
        """Too many are silent at once."""
        every = [each for each in self.capsules.values() if each.life.pool == pool]
        if len(every) < 3:
            return False
        silent = sum(1 for each in every if each.silent is not None and each.liveness != pool_pb2.LIVENESS_LOST)
        lost = sum(1 for each in every if each.liveness == pool_pb2.LIVENESS_LOST)
        return len(every) - lost >= 3 and silent > (len(every) - lost) / 2

    def _spread(self, life: Life, capsule: Capsule | None) -> None:
        """To each replica, some time later."""
        for replica in self.replicas:
            asyncio.get_running_loop().call_later(replica.lag * self._chance.random(), self._reach, replica, life)

    def _reach(self, replica: Replica, life: Life) -> None:
        """It learns what is so now."""
        if not replica.up:
            return
        capsule = self.capsules.get(life.uid)
        before = replica.seen.get(life.name)
        if capsule is None:
            if before is not None and before.uid == life.uid:
                del replica.seen[life.name]
        else:
            silent = capsule.silent is not None
            replica.seen[life.name] = Seen(
                life.uid,
                life.pool,
                f"{life.name}-{life.incarnation}",
                capsule.liveness,
                life.worker or (silent and before is not None and before.worker),
                life.running,
                life.sessions,
                life.draining,
            )
            self.drain(replica)
        self.push_soon(replica)

    def drain(self, replica: Replica) -> None:
        """It tells those of its capsules that should."""
        for seen in list(replica.seen.values()):
            capsule = self.capsules.get(seen.uid)
            if seen.uid in replica.drained and capsule is not None and capsule.silent is None:
                self.on_drain(capsule.life)

    def push_soon(self, replica: Replica) -> None:
        """Something is new there."""
        if not replica.pushing and replica.calls:
            replica.pushing = True
            asyncio.get_running_loop().call_later(PUSH_SECONDS * self._chance.random(), self._push, replica)

    def _push(self, replica: Replica) -> None:
        replica.pushing = False
        for call in list(replica.calls):
            call.answer(brief=True)

    def counts(self, life: Life, running: int, sessions: int) -> None:
        life.running, life.sessions = running, sessions
        self.changed(life)

    # ---- what happens to replicas

    def kill(self, replica: Replica) -> None:
        replica.up = False
        replica.seen.clear()
        replica.held.clear()
        replica.drained = replica.evicted = frozenset()
        self.break_off(replica)

    def start(self, replica: Replica) -> None:
        """Empty, until somebody tells it, and agents link."""
        if replica.up:
            return
        replica.up, replica.since = True, self.now()
        for capsule in list(self.capsules.values()):
            if capsule.silent is None:
                asyncio.get_running_loop().call_later(0.1 + 2 * self._chance.random(), self._reach, replica, capsule.life)

    def harm(self, replica: Replica, *, silent: bool = False, delay: float = 0.0) -> None:
        """Its streams, and those to come."""
        replica.silent, replica.delay = silent, delay
        for call in replica.calls:
            call.harmed = True

    def break_off(self, replica: Replica) -> None:
        for call in list(replica.calls):
            call.end()

    def heal(self) -> None:
        self.cut.clear()
        self.nameless = False
        for replica in self.replicas:
            replica.lag = 0.0
            self.harm(replica)
            self.start(replica)

    # ---- operators

    async def look_up(self) -> set[str]:
        return set() if self.nameless else {replica.name for replica in self.replicas if replica.named}

    @asynccontextmanager
    async def connect(self, address: str, client: Client) -> AsyncIterator[Call]:
        replica = next(each for each in self.replicas if each.name == address)
        await asyncio.sleep(replica.delay)
        if not replica.up or client.name in self.cut or client.dead:
            raise Broken
        call = Call(self, replica, client)
        call.harmed = replica.silent or replica.delay > 0.1
        replica.calls.append(call)
        try:
            yield call
        finally:
            replica.calls.remove(call)
            if call.serving is not None:
                replica.unheard_at[client.name] = self.now()

    def talks(self, client: Client) -> list[Call]:
        return [call for replica in self.replicas for call in replica.calls if call.client is client]

    def heard(self, client: Client) -> dict[str, int] | None:
        """Running calls of the capsules that serve, by the last answers on its streams that go on; None: there is none."""
        answers = [call.serving for call in self.talks(client) if call.serving is not None]
        if not answers:
            return None
        return {uid: max(each.get(uid, 0) for each in answers) for uid in sorted(set().union(*answers))}

    def wanted(self, client: Client) -> set[str]:
        """Pools of which a call waits or runs, by those answers."""
        return set().union(*(call.wanted for call in self.talks(client)))

    def lost(self, client: Client) -> set[str]:
        """Uids of the capsules that are lost, by those answers."""
        return set().union(*(call.lost for call in self.talks(client)))

    def draining(self, client: Client) -> set[str]:
        """Uids of the capsules that were told to drain, by those answers."""
        return set().union(*(call.draining for call in self.talks(client)))

    def unheard(self, client: Client) -> dict[str, float]:
        """Replicas that it should know of and hears nothing of, and since when."""
        heard = {call.replica for call in self.talks(client) if call.serving is not None}
        known = [replica for replica in self.replicas if replica.named and self.now() - replica.named_at > KNOWN_SECONDS]
        return {each.name: each.unheard_at.get(client.name, 0.0) for each in known if each not in heard}

    def uncordoned(self, client: Client, uid: str) -> list[str]:
        """Replicas that should have taken that capsule out of routing, and haven't: all is well between them and that operator alone."""
        found = []
        for call in self.talks(client):
            replica = call.replica
            well = call.serving is not None and not call.harmed and not call.broken
            if well and self.now() - call.begun > 2 and replica.told_by is client and uid not in replica.drained:
                found.append(replica.name)
        return found
