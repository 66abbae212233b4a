"""The one door for calls, whatever they came by: a link, plain gRPC, a stream of their own, or another call's tool."""

from __future__ import annotations

import logging
from functools import partial

from snakepit._telemetry import tracing
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow import spans
from snakepit_control_plane.flow.dispatcher import Dispatcher
from snakepit_control_plane.flow.idempotency import Idempotency
from snakepit_control_plane.flow.nested import NestedCalls
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.call import Call, Reply, Sink, Source, request_of
from snakepit_control_plane.model.caller import NOBODY, Caller
from snakepit_control_plane.model.nesting import Nest
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.admission import check, deadline, too_many

log = logging.getLogger(__name__)


class Intake:
    """The first stage; `idempotency` is the next one."""

    def __init__(
        self, pools: Pools, calls: OpenCalls, nested: NestedCalls, limits: Limits, idempotency: Idempotency, dispatcher: Dispatcher
    ) -> None:
        self._pools = pools
        self._calls = calls
        self._nested = nested
        self._limits = limits
        self._next = idempotency
        self._undo = dispatcher.undo

    def open(
        self,
        frame: link_pb2.Frame,
        reply: Reply,
        now: float,
        *,
        who: Caller = NOBODY,
        any_session: bool = False,
        sink: Sink | None = None,
        source: Source | None = None,
        takes_pieces: bool = False,
        shares_memory: bool = False,
        nest: Nest | None = None,
    ) -> Call:
        """Take a call. `reply` is called exactly once with its Result: perhaps before this returns, and then the call is answered.

        `sink`: where a stream's chunks go; `source`: where large arguments are; `nest`: its place among the calls around it.
        """
        message = frame.call
        request = request_of(message, now, who, takes_pieces, any_session)
        call = self._calls.open(request, frame, message, reply, sink, source, shares_memory)
        if message.HasField("caller"):  # `who` is what has become of it: a token is for nobody else to see.
            message.ClearField("caller")
        if nest is not None:
            call.nest = nest
            nest.call = call
            nest.keep(partial(self._calls.cancel, call))
        try:
            self._admit(call, now)
        except Exception as error:
            self._undo(call, error)
        return call

    def _admit(self, call: Call, now: float) -> None:
        if tracing.enabled():
            spans.begin(call)
        name = call.request.pool
        pool = self._pools.named(name)
        problem = None
        if self._nested.client_calls and call.nest is None and call.message.parent_call_id:
            problem = self._nested.adopt(call)
        if pool is None or problem is not None or (problem := check(call, pool, self._limits)) is not None:
            self._calls.fail(call, problem or self._pools.unknown(name))
            return
        call.pool = pool
        nest = call.nest
        if pool.callers.limit and (nest is None or nest.by_client) and not pool.callers.admit(call):
            self._calls.fail(call, too_many(pool, call))
            return
        pool.demand.arrived += 1
        call.deadline = deadline(call, pool, now)
        if pool.budget is not None:
            pool.budget.count(now)
        self._next.take(pool, call, now)
