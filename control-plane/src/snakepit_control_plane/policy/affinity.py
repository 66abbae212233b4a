"""What is done with a session's call: what its worker is like at the moment, and what follows from that. Pure.

A binding moves only when its agent has let the session go, or is lost; nothing here sends, asks or binds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import SessionRecord

_ENDED = (pool_pb2.WORKER_STATE_BACKOFF, pool_pb2.WORKER_STATE_STOPPED)


class BindingState(enum.Enum):
    """What is known of the worker that a session is bound to."""

    NONE = "it is bound to none, or its agent has let it go"
    ROOM = "it has a free slot"
    FULL = "it has none"
    LEAVING = "it lives, and takes no new calls"
    RETIRING = "it is being recycled, and has a free slot for strict sessions that are in use there"
    RETIRING_FULL = "it is being recycled, and has none"
    CUT_OFF = "its agent can't be heard here, and is not lost"
    UNKNOWN = "this replica has not heard of it, or not that it is ready"
    GONE = "it has ended, or its agent is lost"


class Action(enum.Enum):
    """What is to be done with a call whose turn it is."""

    BOUND = "send it to the worker that the session is bound to"
    PINNED = "let it wait for that worker"
    BESIDE = "send it to any worker, under the epoch as it is"
    MOVE = "send it to any worker, and bind the session to that one"
    ANYBODY = "let it wait for any worker"
    ASK = "ask the agent to let the session go, if it is idle"
    ASK_LATER = "ask the agent to let the session go as soon as it is idle"
    FIND = "ask its agent, or the store whether that lives"
    BUSY = "refuse it: WORKER_BUSY"
    REFUSE = "refuse it: SESSION_WORKER_UNAVAILABLE"


@dataclass(frozen=True)
class AffinityRequest:
    """What the call and its pool want. `alone`: the session is ordered; `within`: the call belongs to the turn of its parent.

    `room`: some other worker has a free slot now. `exclusive`: a worker serves one session.
    """

    affinity: int
    alone: bool = True
    within: bool = False
    room: bool = True
    store_away: bool = False
    exclusive: bool = False


def binding_state(pool: Pool, record: SessionRecord, *, released: bool) -> tuple[BindingState, Worker | None]:
    """What the session's worker is like, and the worker itself where it can be reached."""
    if not record.worker or released:
        return BindingState.NONE, None
    worker = pool.find(record.worker, record.incarnation)
    if worker is None:
        # That nobody has named it here proves nothing: it may be new.
        return (BindingState.GONE if pool.has_gone(record.incarnation) or not record.agent else BindingState.UNKNOWN), None
    if worker.info.state in _ENDED:
        return BindingState.GONE, None
    state = _state_of(worker)
    return state, None if state is BindingState.UNKNOWN else worker


def _state_of(worker: Worker) -> BindingState:
    capsule = worker.capsule
    if not capsule.linked or capsule.liveness != pool_pb2.LIVENESS_LIVE:
        return BindingState.CUT_OFF
    if worker.info.state == pool_pb2.WORKER_STATE_STARTING and capsule.routable:
        # Nobody is bound to a worker that never was ready: another replica has heard of it earlier.
        return BindingState.UNKNOWN
    if worker.retiring and capsule.routable:
        return BindingState.RETIRING if worker.has_room else BindingState.RETIRING_FULL
    if not worker.alive:
        return BindingState.LEAVING
    return BindingState.ROOM if worker.has_room else BindingState.FULL


def choose(state: BindingState, request: AffinityRequest) -> Action:
    """The one decision about a call whose turn it is."""
    if state is BindingState.ROOM:
        return Action.BOUND
    if state is BindingState.UNKNOWN:
        return Action.FIND
    if state is BindingState.NONE or (state is BindingState.GONE and request.affinity == common_pb2.AFFINITY_HINT):
        return Action.MOVE
    if request.within and request.affinity == common_pb2.AFFINITY_HINT:
        return Action.BESIDE
    if request.affinity != common_pb2.AFFINITY_HINT:
        return _strict(state, request)
    return _hint(state, request) if request.alone or request.exclusive else Action.BESIDE


def _strict(state: BindingState, request: AffinityRequest) -> Action:
    if state in (BindingState.GONE, BindingState.LEAVING):
        return Action.REFUSE
    if state is BindingState.RETIRING:
        return Action.BOUND
    return Action.BUSY if request.affinity == common_pb2.AFFINITY_STRICT_FAIL_FAST else Action.PINNED


def _hint(state: BindingState, request: AffinityRequest) -> Action:
    if state is BindingState.CUT_OFF or request.store_away:
        return Action.PINNED
    if state in (BindingState.LEAVING, BindingState.RETIRING, BindingState.RETIRING_FULL):
        return Action.ASK_LATER
    if not request.alone:
        return Action.PINNED
    return Action.ASK if request.room else Action.ANYBODY
