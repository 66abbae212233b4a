"""RebindSession: a session lets go of its worker because a client says so. What runs there is stopped, and nothing that it says counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from snakepit.errors import WorkerBusy
from snakepit_control_plane.flow.sessions.binding import LOOK_SECONDS, VERDICT_SECONDS
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.policy.affinity import BindingState, binding_state

if TYPE_CHECKING:
    from snakepit_control_plane.flow.sessions.turns import Sessions


async def rebind(sessions: Sessions, pool: Pool, session: str) -> SessionRecord:
    """The record under the next epoch, bound to none. Raises WorkerBusy when the worker's agent neither answers nor is given up."""
    clock = sessions.clock
    until = clock() + pool.spec.heartbeat.timeout_seconds + VERDICT_SECONDS
    while clock() < until:
        known = await sessions.store.get_session(pool.name, session)
        if not await _let_go(sessions, pool, known):
            await asyncio.sleep(LOOK_SECONDS)
            continue
        record = await sessions.store.unbind_session(known)
        sessions.upkeep.learned(record)
        if record.binding != known.binding and not record.worker:
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
