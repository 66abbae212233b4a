"""Which way a session's call goes: what its worker is like at the moment, and what follows from that. Pure.

A binding moves only when its agent has let the session go, or is lost; nothing here sends, asks or binds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.interface import SessionRecord

_ENDED = (pool_pb2.WORKER_STATE_BACKOFF, pool_pb2.WORKER_STATE_STOPPED)


class Home(enum.Enum):
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


class Way(enum.Enum):
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
class Wish:
    """What the call and its pool want. `alone`: the session is ordered; `within`: the call belongs to the turn of its parent.

    `room`: some other worker has a free slot now. `exclusive`: a worker serves one session.
    """

    affinity: int
    alone: bool = True
    within: bool = False
    room: bool = True
    store_away: bool = False
    exclusive: bool = False


def home_of(pool: Pool, record: SessionRecord, *, released: bool) -> tuple[Home, Worker | None]:
    """What the session's worker is like, and the worker itself where it can be reached."""
    if not record.worker or released:
        return Home.NONE, None
    worker = pool.find(record.worker, record.incarnation)
    if worker is None:
        # That nobody has named it here proves nothing: it may be new.
        return (Home.GONE if pool.has_gone(record.incarnation) or not record.agent else Home.UNKNOWN), None
    if worker.info.state in _ENDED:
        return Home.GONE, None
    home = _state_of(worker)
    return home, None if home is Home.UNKNOWN else worker


def _state_of(worker: Worker) -> Home:
    capsule = worker.capsule
    if not capsule.linked or capsule.liveness != pool_pb2.LIVENESS_LIVE:
        return Home.CUT_OFF
    if worker.info.state == pool_pb2.WORKER_STATE_STARTING and capsule.routable:
        # Nobody is bound to a worker that never was ready: another replica has heard of it earlier.
        return Home.UNKNOWN
    if worker.retiring and capsule.routable:
        return Home.RETIRING if worker.has_room else Home.RETIRING_FULL
    if not worker.alive:
        return Home.LEAVING
    return Home.ROOM if worker.has_room else Home.FULL


def choose(home: Home, wish: Wish) -> Way:
    """The one decision about a call whose turn it is."""
    if home is Home.ROOM:
        return Way.BOUND
    if home is Home.UNKNOWN:
        return Way.FIND
    if home is Home.NONE or (home is Home.GONE and wish.affinity == common_pb2.AFFINITY_HINT):
        return Way.MOVE
    if wish.within and wish.affinity == common_pb2.AFFINITY_HINT:
        return Way.BESIDE
    if wish.affinity != common_pb2.AFFINITY_HINT:
        return _strict(home, wish)
    return _hint(home, wish) if wish.alone or wish.exclusive else Way.BESIDE


def _strict(home: Home, wish: Wish) -> Way:
    if home in (Home.GONE, Home.LEAVING):
        return Way.REFUSE
    if home is Home.RETIRING:
        return Way.BOUND
    return Way.BUSY if wish.affinity == common_pb2.AFFINITY_STRICT_FAIL_FAST else Way.PINNED


def _hint(home: Home, wish: Wish) -> Way:
    if home is Home.CUT_OFF or wish.store_away:
        return Way.PINNED
    if home in (Home.LEAVING, Home.RETIRING, Home.RETIRING_FULL):
        return Way.ASK_LATER
    if not wish.alone:
        return Way.PINNED
    return Way.ASK if wish.room else Way.ANYBODY
