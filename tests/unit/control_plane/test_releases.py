"""Questions to agents about sessions: which answer is for whom."""

from __future__ import annotations

import asyncio

from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.sessions.releases import Releases
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.session import SessionRecord

RECORD = SessionRecord(
    pool="default/p", id="s", uid="u", created=0, last_used=0, ttl_seconds=60, epoch=6, worker="c/0", incarnation="life", agent="a"
)


def answer(*, look: bool = False) -> link_pb2.SessionReleased:
    return link_pb2.SessionReleased(session_uid="u", session_epoch=6, released=True, look=look)


async def test_an_answer_to_a_look_lets_nothing_go_though_somebody_has_asked_for_that_too() -> None:
    releases, capsule = Releases(AgentLinks()), Capsule("c", "a", "default/p", "", 0.0)
    forced = asyncio.create_task(releases.ask(capsule, RECORD, force=True))
    looked = asyncio.create_task(releases.ask(capsule, RECORD, look=True))
    await asyncio.sleep(0)
    releases.answered(answer(look=True))
    assert await looked is True
    assert not forced.done(), "the agent may still begin calls of that epoch"
    releases.answered(answer())
    assert await forced is True
