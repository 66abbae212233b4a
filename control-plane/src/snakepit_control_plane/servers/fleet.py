"""FleetService.Sync: the operator's settings in, the fleet's state out; for each request, and when something has changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, cast

import grpc

from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, pool_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.servers.arrivals import EOF
from snakepit_control_plane.servers.connections import Shown, nobody_counts
from snakepit_control_plane.servers.rpc import NO_MESSAGE, abort, metadata

CHANGE_SECONDS = 0.25, 1.0
"""Changes are told at most this often: the first while there are few of them to tell, the second in any case."""

TELLING_SHARE = 0.05
"""So much of the time at most goes by with telling them, as long as that is no reason to wait for longer than `CHANGE_SECONDS` say."""

AT_ONCE = 100
"""Capsules that are looked at without a pause: about a millisecond, for which calls wait."""

Context = grpc.aio.ServicerContext[Any, Any]


def rest_after(seconds: float) -> float:
    """How long nothing is told after changes whose telling took so long."""
    least, most = CHANGE_SECONDS
    return min(most, max(least, seconds / TELLING_SHARE))


class _Talk:
    """The talk with one operator. `writing` is held for each message: a stream takes one at a time. `told`: so many changes are in them."""

    def __init__(self, context: Context, told: int) -> None:
        self.context = context
        self.told = told
        self.begun = False
        self.writing = asyncio.Lock()
        self.version = 0
        self.complete = False


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Serves the operator's streams. `store_note` is said of a store that is there; `shown` is told whose connections those are."""

    def __init__(self, fleet: Fleet, replica: str, gate: Gate, store_note: str = "", shown: Shown = nobody_counts) -> None:
        self._store_note = store_note
        self._shown = shown
        self._gate = gate
        self._fleet = fleet
        self._replica = replica

    async def Sync(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        """One operator's stream, for as long as it lasts."""
        try:
            await self._gate.admit_operator(metadata(context))
            self._shown(context.peer(), None, link=True)
        except SnakepitError as error:
            await abort(context, error)
            return
        talk = _Talk(context, self._fleet.changes.count)
        changes = asyncio.create_task(self._tell_changes(talk))
        with contextlib.ExitStack() as listening:
            try:
                while (request := cast(fleet_pb2.SyncRequest, await context.read())) is not EOF:
                    if request is None:
                        await abort(context, InvalidArguments(NO_MESSAGE))
                    self._carry_out(request)
                    talk.version = request.version
                    if request.complete and not talk.complete:
                        talk.complete = True
                        listening.enter_context(self._fleet.roster.listening())
                    async with talk.writing:
                        await self._answer(talk, partial=request.changes_only)
            finally:
                changes.cancel()
                await asyncio.gather(changes, return_exceptions=True)

    def _carry_out(self, request: fleet_pb2.SyncRequest) -> None:
        """Carry the request out without a pause, so that no answer is of half of one."""
        drain, evicted, held = request.drain_capsules, request.evicted_capsules, request.held_capsules
        self._fleet.sync(list(request.pools), complete=request.complete, drain=drain, evicted=evicted, held=held, names=request.names)

    async def _tell_changes(self, talk: _Talk) -> None:
        clock = self._fleet.flow.clock
        while True:
            await self._fleet.changes.wait_beyond(talk.told)
            async with talk.writing:
                began = clock()
                if is_news := self._fleet.changes.count != talk.told:
                    await self._answer(talk, partial=True)
            if is_news:  # Else an answer to a request was sooner.
                await asyncio.sleep(rest_after(clock() - began))

    async def _answer(self, talk: _Talk, *, partial: bool) -> None:
        """With everything, or with what has changed since the answer before."""
        changes = self._fleet.changes
        names = changes.since(talk.told) if partial and talk.begun else None
        talk.told, talk.begun = changes.count, True
        await talk.context.write(await self.state(talk.version, names))

    async def state(self, version: int = 0, names: Sequence[str] | None = None) -> fleet_pb2.SyncResponse:
        """Everything, or these pools, to an operator whose request `version` was the last to be carried out.

        Calls go on meanwhile, so that not all of it is of one moment.
        """
        problem, pools = self._fleet.store.problem, self._fleet.flow.pools
        answer = fleet_pb2.SyncResponse(
            replica=self._replica,
            session_store_ready=not problem,
            session_store_message=problem or self._store_note,
            version=version,
            refused=self._fleet.roster.refused,
            partial=names is not None,
        )
        for name in list(pools) if names is None else names:
            if (pool := pools.get(name)) is not None:
                await self._describe(pool, answer.pools.add())
        return answer

    async def _describe(self, pool: Pool, state: fleet_pb2.PoolState) -> None:
        state.capsules.extend(map(_lost, pool.lost))
        everybody = list(pool.capsules.values())
        for first in range(0, len(everybody), AT_ONCE):
            await asyncio.sleep(0)
            state.capsules.extend(map(self._capsule, everybody[first : first + AT_ONCE]))
        await asyncio.sleep(0)
        state.pool.CopyFrom(pool.describe(self._fleet.flow.clock()))
        state.tools.extend(sorted(pool.tools))
        state.silence_held = pool.silence_held
        state.settings_digest = pool.digest
        state.ended.update(pool.ends)
        state.demand.CopyFrom(pool.demand.message(self._fleet.flow.clock()))

    def _capsule(self, capsule: Capsule) -> fleet_pb2.CapsuleState:
        infos = [worker.info for worker in capsule.workers.values()]
        return fleet_pb2.CapsuleState(
            name=capsule.name,
            incarnation=capsule.incarnation,
            pod_uid=capsule.pod_uid,
            liveness=capsule.liveness,
            draining=capsule.told_to_drain,
            sessions=self._fleet.flow.sessions.upkeep.bound_to(capsule.name),
            running=sum(worker.load for worker in capsule.everyone),
            workers=[each for each in infos if each.state != pool_pb2.WORKER_STATE_READY or each.reason],
            recycled=capsule.recycled,
            problem=capsule.problem,
            ready_workers=sum(each.state == pool_pb2.WORKER_STATE_READY for each in infos),
        )


def _lost(capsule: tuple[str, str, str]) -> fleet_pb2.CapsuleState:
    name, incarnation, pod_uid = capsule
    return fleet_pb2.CapsuleState(name=name, incarnation=incarnation, pod_uid=pod_uid, liveness=pool_pb2.LIVENESS_LOST)
