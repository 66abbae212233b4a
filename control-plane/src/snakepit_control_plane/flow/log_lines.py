"""What a capsule has said last: its agent is asked when somebody wants to see it, and nothing of it is kept here."""

from __future__ import annotations

import asyncio

from snakepit.errors import ServerUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.model.capsule import Capsule

ANSWER_SECONDS = 1.5
"""Below a client's patience with a replica."""

MOST_ASKED = 64
"""Questions without an answer: whoever has one more is told to come back."""


class LogLines:
    """Of one replica."""

    def __init__(self, agents: AgentLinks) -> None:
        self._agents = agents
        # What waits for an answer: by the capsule's incarnation, which nobody else answers for, and the question's id.
        self.asked: dict[tuple[str, int], asyncio.Future[link_pb2.LogLinesReply]] = {}
        self._last_id = 0

    async def ask(self, capsule: Capsule, request: link_pb2.LogLinesRequest) -> link_pb2.LogLinesReply:
        """What its agent answers, or why it doesn't. Raises ServerUnavailable where too much is being asked."""
        if not capsule.tells_log_lines:
            return _none(f"the agent of capsule {capsule.name} is of a version that tells no lines")
        if len(self.asked) >= MOST_ASKED:
            raise ServerUnavailable(f"the log lines of {MOST_ASKED} capsules are being asked for: try again", retry_after=1.0)
        request.id = self._last_id = self._last_id + 1
        key = capsule.incarnation, request.id
        answer: asyncio.Future[link_pb2.LogLinesReply] = asyncio.get_running_loop().create_future()
        self.asked[key] = answer
        try:
            self._agents.tell(capsule, link_pb2.Frame(log_lines_request=request))
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return _none(f"the agent of capsule {capsule.name} did not answer within {ANSWER_SECONDS:g} s")
        finally:
            del self.asked[key]

    def answered(self, capsule: Capsule, reply: link_pb2.LogLinesReply) -> None:
        """An answer to what was not asked, or is too late, is nobody's."""
        answer = self.asked.get((capsule.incarnation, reply.id))
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def unlinked(self, capsule: Capsule) -> None:
        """Its agent's link has closed: nobody waits for what doesn't come."""
        for (incarnation, _), answer in self.asked.items():
            if incarnation == capsule.incarnation and not answer.done():
                answer.set_result(_none(f"the link of capsule {capsule.name} broke"))


def _none(problem: str) -> link_pb2.LogLinesReply:
    return link_pb2.LogLinesReply(problem=problem)
