"""Asked before a caller gets what it wants. This one asks nobody: who is known may do everything but look at, or use, others' sessions
and calls, and what tools have logged in them."""

from __future__ import annotations

from snakepit._values.strings import quoted
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import CHANGE_SESSION, Answer, Right, denied

YES = Answer(allowed=True)
OTHERS = Answer(
    allowed=False, reason="sessions, calls and their log lines are their makers', and nobody is asked here for rights on others'"
)
AS_THEMSELVES = Answer(allowed=False, reason="nobody is asked here who may")


class Access:
    """May a caller do it? A pool's name is `namespace/name`."""

    def known(self, caller: Caller, right: Right, pool: str) -> Answer | None:
        """Without a wait; None: `answer` must be awaited."""
        return _unasked(caller, right)

    async def answer(self, caller: Caller, right: Right, pool: str) -> Answer:
        """Raises ServerUnavailable where it can't be known now."""
        return _unasked(caller, right)

    def decided(self, caller: Caller, right: Right, pool: str, answer: Answer) -> None:
        """Write it down."""

    async def check(self, caller: Caller, right: Right, pool: str) -> None:
        """Raises PermissionDenied, or ServerUnavailable where it can't be known now."""
        answer = await self.answer(caller, right, pool)
        self.decided(caller, right, pool, answer)
        if not answer.allowed:
            raise denied(caller.subject, right, pool, answer.reason)

    async def may(self, caller: Caller, right: Right, pool: str) -> bool:
        """For what goes on without the right, with less: such a no refuses nothing, and is not written down. Raises ServerUnavailable."""
        answer = await self.answer(caller, right, pool)
        if answer.allowed:
            self.decided(caller, right, pool, answer)
        return answer.allowed

    def not_theirs(self, caller: Caller, pool: str, session: str) -> None:
        """A call was refused, because its session is somebody else's."""
        self.decided(caller, CHANGE_SESSION, pool, Answer(allowed=False, reason=f"session {quoted(session)} is somebody else's"))

    async def stop(self) -> None:
        """Ask nothing any more."""

    def forget(self) -> None:
        """Ask again for everything."""


def _unasked(caller: Caller, right: Right) -> Answer:
    if right.verb == "impersonate":
        return AS_THEMSELVES
    return OTHERS if right.subresource in ("sessions", "calls", "log") and caller.subject else YES
