"""Whose a session is, and who else may see, change or delete it. Others are told that there is none."""

from __future__ import annotations

from snakepit.errors import PermissionDenied, SessionNotFound
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.policy.rights import CALL, DELETE_SESSION, Right
from snakepit_control_plane.store.interface import Store, UnreadableRecord
from snakepit_control_plane.store.memory import no_session

MOST_LOOKED_AT = 1000
"""Sessions of a pool that are looked at in one go for one's own."""


class SessionOwners:
    """`access` says who may do more than a session's owner lets them."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access, self._store = access, store

    async def find(self, caller: Caller, right: Right, pool: str, session: str) -> SessionRecord:
        """The session, for whoever may see it. Raises SessionNotFound; PermissionDenied for who may do nothing in the pool: there or not,
        nobody else is told; UnreadableRecord for those who could see it, as far as it says whose it is."""
        try:
            record = await self._store.get_session(pool, session)
        except SessionNotFound:
            if caller.subject and not await self._access.may(caller, right, pool):
                await self._access.check(caller, CALL, pool)
            raise
        except UnreadableRecord as error:
            await self.allow(caller, right, error.record)
            raise
        await self.allow(caller, right, record)
        return record

    async def find_to_delete(self, caller: Caller, pool: str, session: str) -> str:
        """The uid of what may be deleted; empty: whatever is there. Whose a record is that can't be read nobody knows, so it takes the
        right to delete others'."""
        if not caller.subject:
            return ""
        try:
            return (await self.find(caller, DELETE_SESSION, pool, session)).uid
        except UnreadableRecord as error:
            if not await self._access.may(caller, DELETE_SESSION, pool):
                raise
            return error.record.uid

    async def allow(self, caller: Caller, right: Right, record: SessionRecord) -> None:
        """Raises SessionNotFound, or PermissionDenied for who may do nothing in the pool."""
        if record.is_of(caller):
            await self._access.check(caller, CALL, record.pool)
            return
        try:
            await self._access.check(caller, right, record.pool)
        except PermissionDenied:
            await self._access.check(caller, CALL, record.pool)
            raise no_session(record.pool, record.id) from None

    async def list_own(self, caller: Caller, pool: str, token: str, most: int) -> list[SessionRecord]:
        """The caller's, so many at most. Others' are passed over here: a page's token would name one of them."""
        own = list[SessionRecord]()
        while len(own) < most and (found := await self._store.list_sessions(pool, token, MOST_LOOKED_AT)):
            own += [readable(each) for each in found if _as_far_as_read(each).is_of(caller)]
            token = found[-1].id
        return own[:most]


def readable(found: SessionRecord | UnreadableRecord) -> SessionRecord:
    """Raises UnreadableRecord."""
    if isinstance(found, UnreadableRecord):
        raise found
    return found


def _as_far_as_read(found: SessionRecord | UnreadableRecord) -> SessionRecord:
    return found.record if isinstance(found, UnreadableRecord) else found
