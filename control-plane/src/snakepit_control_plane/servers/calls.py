"""CallService: calls that are open here, those that ended lately, and what a pool's last hour was like.

A caller sees its own calls; those of others take a right on the pool's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

import grpc

from snakepit._tasks import ask_each
from snakepit._values.strings import quoted
from snakepit.errors import CallNotFound, Cancelled, InvalidArguments, Started
from snakepit.v1 import call_pb2, call_pb2_grpc
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.history import BOUNDS
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.records import Record, record_of
from snakepit_control_plane.model.states import JOINED, LEFT, SENT
from snakepit_control_plane.policy.rights import CALL, CANCEL_CALL, LIST_CALLS, LOOK, READ_CALL, Right
from snakepit_control_plane.servers.call_info import ENDED, QUEUED, RUNNING, events, info, stamp
from snakepit_control_plane.servers.door import Door, find_pool
from snakepit_control_plane.servers.rpc import full_name

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

MOST_OF_AN_ID = 10
"""Records that one answer has of a call's id."""

AT_ONCE = 50
"""Records that are written down before others have their turn."""

RIGHTS_AT_ONCE = 8
"""Pools on which a caller's rights are looked up together."""

Context = grpc.aio.ServicerContext[Any, Any]
Sees = Callable[[Record], bool]
"""May the caller see that call?"""


def _all(_: Record) -> bool:
    return True


class Found(NamedTuple):
    pool: Pool
    record: Record
    state: call_pb2.CallState


class CallServicer(call_pb2_grpc.CallServiceServicer):
    """Serves what the proto's comments say. `replica` is this process's random name."""

    def __init__(self, flow: Flow, door: Door, replica: str) -> None:
        self._flow = flow
        self._door = door
        self._replica = replica

    async def ListCalls(self, request: call_pb2.ListCallsRequest, context: Context) -> call_pb2.ListCallsResponse:  # noqa: N802
        caller = await self._door.caller(context)
        admitted = await self._admit(caller, LIST_CALLS, request.pool, self._having)
        if request.limit < 0:
            raise InvalidArguments(f"limit {request.limit} is negative: 0 means {DEFAULT_LIMIT}")
        fitting = self._known(admitted, request.state, fits=lambda record: _fits(record, request))
        response = call_pb2.ListCallsResponse()
        for n, found in enumerate(list(islice(fitting, min(request.limit or DEFAULT_LIMIT, MAX_LIMIT)))):
            if n % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            response.calls.append(self._info(found))
        return response

    async def GetCall(self, request: call_pb2.GetCallRequest, context: Context) -> call_pb2.GetCallResponse:  # noqa: N802
        caller = await self._door.caller(context)
        admitted = await self._admit(caller, READ_CALL, request.pool, lambda: self._having(request.call_id))
        response = call_pb2.GetCallResponse()
        for found in islice(self._known(admitted, 0, request.call_id), MOST_OF_AN_ID):
            message = self._info(found)
            message.events.extend(events(found.record, found.state))
            response.calls.append(message)
        if not response.calls:
            kept = f"its record has gone: maxCallRecords, {self._flow.limits.max_call_records}, is how many there are"
            of = f"pool {full_name(request.pool)}" if request.pool else "any pool"
            raise CallNotFound(f"no call {quoted(request.call_id)} of {of} is known here: it did not come here, or {kept}")
        return response

    async def CancelCall(self, request: call_pb2.CancelCallRequest, context: Context) -> call_pb2.CancelCallResponse:  # noqa: N802
        caller = await self._door.caller(context)
        pool = self._flow.pools.find(full_name(request.pool))
        others = any(each.request.who.subject != caller.subject for _, each in self._open({pool: _all}, request.call_id))
        seen = others and await self._door.access.may(caller, READ_CALL, pool.name)
        await self._door.access.check(caller, CANCEL_CALL if seen else CALL, pool.name)
        calls = [each for _, each in self._open({pool: _all}, request.call_id) if seen or each.request.who.subject == caller.subject]
        # A call with an idempotency key waits for its run, which says more of how it ended.
        for call in sorted(calls, key=lambda each: not each.request.leads):
            by = f" by {caller.subject}" if seen else ""
            started = Started.MAYBE if call.may_have_run else Started.NO
            self._flow.calls.cancel(call, Cancelled(f"the call was cancelled{by}, as asked for", started=started))
        return call_pb2.CancelCallResponse(cancelled=bool(calls))

    async def GetHistory(self, request: call_pb2.GetHistoryRequest, context: Context) -> call_pb2.GetHistoryResponse:  # noqa: N802
        """Counts, and nobody's calls: whoever may look at the pool may see them."""
        pool, _ = await find_pool(self._door, self._flow.pools, context, LOOK, request.pool)
        now, wall = self._flow.clock(), time.time()
        response = call_pb2.GetHistoryResponse(bounds=BOUNDS, time=stamp(wall))
        if pool.objectives is not None:
            response.objectives.extend(pool.objectives.messages(now))
        for minute in pool.records.history.last(now) if pool.records is not None else ():
            begin = stamp(wall - now + minute.begin)
            response.minutes.add(begin_time=begin, seconds=minute.seconds, queue_seconds=minute.queue_seconds, errors=minute.errors)
        return response

    def _having(self, call_id: str | None = None) -> Collection[Pool]:
        """Pools with calls to see, or with that one: only on them a caller's rights are asked for."""
        everybody = dict.fromkeys(self._flow.pools.values(), _all)
        if call_id is not None:
            return {each.pool for each in self._known(everybody, 0, call_id)}
        return {pool for pool, _ in self._open(everybody)} | {pool for pool in everybody if pool.records}

    async def _admit(self, caller: Caller, right: Right, name: str, pools: Callable[[], Collection[Pool]]) -> dict[Pool, Sees]:
        """The pool of that name; where none is named, those of `pools` that the caller may see calls of. With each, which it may see.

        To look for `pools` takes long. Raises PoolNotFound, PermissionDenied, and ServerUnavailable where rights can't be known now.
        """
        if name:
            pool = self._flow.pools.find(full_name(name))
            sees = await self._sees(caller, right, pool)
            if sees is None:
                await self._door.access.check(caller, CALL, pool.name)
            return {pool: sees or _own(caller)}
        asked = list(pools())
        seen = await ask_each(asked, lambda pool: self._sees(caller, right, pool), at_once=RIGHTS_AT_ONCE)
        return {pool: sees for pool, sees in zip(asked, seen, strict=True) if sees is not None}

    async def _sees(self, caller: Caller, right: Right, pool: Pool) -> Sees | None:
        if not caller.subject or await self._door.access.may(caller, right, pool.name):
            return _all
        return _own(caller) if await self._door.access.may(caller, CALL, pool.name) else None

    def _open(self, pools: Mapping[Pool, Sees], call_id: str | None = None) -> Iterator[tuple[Pool, Call]]:
        """Calls without an answer, the newest first; all, or those of that id."""
        for call in reversed(self._flow.calls.unanswered):
            if call.pool is not None and call.pool in pools and call_id in (None, call.call_id):
                yield call.pool, call

    def _known(self, pools: Mapping[Pool, Sees], state: int, call_id: str | None = None, fits: Sees = _all) -> Iterator[Found]:
        """What is known of calls in that state (0: any), and may be seen; of all or those of that id, and that `fits` holds for."""
        now = self._flow.clock()
        if state != ENDED:
            runs = {(pool, call.call_id) for pool, call in self._open(pools, call_id) if call.request.leads}
            for pool, call in self._open(pools, call_id):
                its = RUNNING if call.state is SENT or call.state is LEFT else QUEUED
                if state in (0, its) and not (call.state is JOINED and (pool, call.call_id) in runs):
                    record = record_of(call, None, "", now)
                    if fits(record) and pools[pool](record):
                        yield Found(pool, record, its)
        if state in (0, ENDED):
            wanted = fits if call_id is None else lambda record: record.call_id == call_id and fits(record)
            ended = (_ended(pool, wanted, sees) for pool, sees in pools.items())
            yield from merge(*ended, key=lambda each: each.record.ended, reverse=True)

    def _info(self, found: Found) -> call_pb2.CallInfo:
        return info(found.pool.name, self._replica, found.record, found.state, wall=time.time() - self._flow.clock())


def _ended(pool: Pool, wanted: Sees, sees: Sees) -> Iterator[Found]:
    """The newest first. Most are not wanted, so that nothing is made of them."""
    return (Found(pool, record, ENDED) for record in pool.records or () if wanted(record) and sees(record))


def _own(caller: Caller) -> Sees:
    return lambda record: record.subject == caller.subject


def _fits(record: Record, asked: call_pb2.ListCallsRequest) -> bool:
    return (
        (not asked.tool or record.tool == asked.tool)
        and (not asked.caller or record.subject == asked.caller)
        and (not asked.session_id or record.session_id == asked.session_id)
        and (not asked.reason or asked.reason in (record.reason, record.error_type))
        and (not asked.parent_call_id or record.around == asked.parent_call_id)
        and record.seconds >= asked.slower_than_seconds
    )
