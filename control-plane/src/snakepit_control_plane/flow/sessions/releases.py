"""Letting a session go: questions to agents whether it may move away from them, their answers, and RebindSession.

A client that rebinds a session has what runs there stopped, and nothing that it says counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from snakepit.errors import WorkerBusy
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.sessions.binding import LOOK_SECONDS, VERDICT_SECONDS
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import REBIND, SessionRecord
from snakepit_control_plane.policy.affinity import BindingState, binding_state
from snakepit_control_plane.store.memory import no_session

ANSWER_SECONDS = 2.0
"""An agent that has not answered by then is asked again when a call comes."""


class Releases:
    """Of one replica."""

    def __init__(self, agents: AgentLinks) -> None:
        self._agents = agents
        # By life of the worker, uid and epoch; with each, whether it only looks.
        self.asked: dict[tuple[str, str, int], list[tuple[asyncio.Future[bool | None], bool]]] = {}

    async def ask(self, capsule: Capsule, record: SessionRecord, **how: bool) -> bool | None:
        """True: the agent has let the session go. False: a call of it is there. None: no answer.

        `wait`: the answer comes when it is idle; `force`: whatever runs is stopped; `look`: nothing is let go.
        """
        answer: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        key = (record.incarnation, record.uid, record.epoch)
        asked = answer, how.get("look", False)
        self.asked.setdefault(key, []).append(asked)
        self._agents.tell(capsule, _question(record, how))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return None
        finally:
            self.asked[key].remove(asked)
            if not self.asked[key]:
                del self.asked[key]

    def answered(self, reply: link_pb2.SessionReleased) -> None:
        """An answer is for everybody who asks about that epoch of the session; but who only looked has let nothing go."""
        for key in [key for key in self.asked if key[1:] == (reply.session_uid, reply.session_epoch)]:
            self._settle(key, reply.released, look=reply.look)

    def unanswered(self, incarnation: str) -> None:
        """That life of a worker is over, or its agent can't be heard any more."""
        for key in [key for key in self.asked if key[0] == incarnation]:
            self._settle(key, None)

    def _settle(self, key: tuple[str, str, int], released: bool | None, *, look: bool = False) -> None:
        for answer, looks in self.asked[key]:
            if not answer.done() and (looks or not look):
                answer.set_result(released)


def _question(record: SessionRecord, how: Mapping[str, bool]) -> link_pb2.Frame:
    body = link_pb2.SessionRelease(
        session_id=record.id,
        session_uid=record.uid,
        session_epoch=record.epoch,
        worker=record.worker,
        incarnation=record.incarnation,
        **how,
    )
    return link_pb2.Frame(session_release=body)


if TYPE_CHECKING:
    from snakepit_control_plane.flow.sessions.turns import Sessions


async def rebind(sessions: Sessions, pool: Pool, session: str, uid: str = "") -> SessionRecord:
    """The record under the next epoch, bound to none. Raises WorkerBusy when the worker's agent neither answers nor is given up;
    SessionNotFound for another than that of `uid`."""
    clock = sessions.clock
    until = clock() + pool.spec.heartbeat.timeout_seconds + VERDICT_SECONDS
    while clock() < until:
        known = await sessions.store.get_session(pool.name, session)
        if uid not in ("", known.uid):
            raise no_session(pool.name, session)
        if not await _let_go(sessions, pool, known):
            await asyncio.sleep(LOOK_SECONDS)
            continue
        record = await sessions.store.unbind_session(known)
        sessions.upkeep.learned(record)
        if record.uid == known.uid and record.binding != known.binding and not record.worker:
            if known.worker:
                sessions.telemetry.sessions_moved.add(pool.name, REBIND)
            return record
    raise WorkerBusy(f"the worker of session {session!r} can't be reached, and is not given up yet: try again", retry_after=1.0)


async def _let_go(sessions: Sessions, pool: Pool, known: SessionRecord) -> bool:
    """Has whoever has the session let it go?"""
    state, _ = binding_state(pool, known, released=False)
    if state in (BindingState.NONE, BindingState.GONE):
        return True
    capsule = pool.capsules.get(known.agent)
    if capsule is None:
        return not await sessions.binding.look(pool, known)
    return state is not BindingState.CUT_OFF and bool(await sessions.releases.ask(capsule, known, force=True))
