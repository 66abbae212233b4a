"""A capsule's last log lines, at a replica that asks for rights: who gets them, and what comes of agents that don't tell them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client, Pool
from snakepit._telemetry import log_lines
from snakepit._telemetry.log_lines import LogLine
from snakepit.errors import InvalidArguments, PermissionDenied, ServerUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow import log_lines as asking
from snakepit_control_plane.policy.rights import CALL, LOOK, READ_LOGS
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, known_agent, put, token
from support.control_plane import eventually
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

NAMESPACE = POOL.partition("/")[0]


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def pool(server: Running, agent: SimulatedAgent, tmp_path: Path) -> AsyncIterator[Pool]:
    """Ada's handle on it."""
    async with Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as client:
        yield client.pool(POOL)


def encoded(*messages: str) -> list[str]:
    made = (LogLine(time="2026-11-30T00:00:00.000Z", level="info", component="worker", message=each) for each in messages)
    return [log_lines.encode(each).decode() for each in made]


async def test_who_may_read_a_pods_log_may_read_it_here_and_nobody_else(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, tmp_path: Path
) -> None:
    asked: list[link_pb2.LogLinesRequest] = []

    def tell(request: link_pb2.LogLinesRequest) -> None:
        asked.append(request)
        agent.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=[*encoded("one", "two"), "none of ours"]))

    agent.on_log_lines = tell
    asks.give(ADA, LOOK, CALL)
    how = f"kubectl auth can-i get pods/{agent.name} --subresource=log -n {NAMESPACE}"
    with pytest.raises(PermissionDenied, match=f"may not get pods/log .*{how}"):
        await pool.log_lines(f"{agent.name}/0")
    assert str(READ_LOGS) not in await pool.rights()
    assert not asked
    asks.give(ADA, READ_LOGS, on=f"{NAMESPACE}/{agent.name}")
    server.door.access.forget()
    found = await pool.log_lines(f"{agent.name}/0", call_id="c", limit=7)
    assert ([each.message for each in found], found.problem) == (["one", "two"], "")
    assert (asked[0].worker, asked[0].call_id, asked[0].limit) == (f"{agent.name}/0", "c", 7)
    assert [each.message for each in await pool.log_lines(agent.name)] == ["one", "two"]
    assert (asked[1].worker, asked[1].limit) == ("", 100)
    assert str(READ_LOGS) not in await pool.rights(), "of one pod is not of all"
    asks.give(ADA, READ_LOGS, on=f"{NAMESPACE}/")
    server.door.access.forget()
    assert str(READ_LOGS) in await pool.rights()
    async with Client(server.address, token_file=put(tmp_path / "bob", token(BOB))) as bob:
        with pytest.raises(PermissionDenied):
            await bob.pool(POOL).log_lines(agent.name)


async def test_names_of_capsules_that_there_are_not_have_nothing_asked_but_the_right_on_all(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool
) -> None:
    how = f"kubectl auth can-i get pods --subresource=log -n {NAMESPACE} "
    for number in range(5):
        with pytest.raises(PermissionDenied, match=f"may not get pods/log in namespace {NAMESPACE}.*{how}"):
            await pool.log_lines(f"made-up-{number}/0")
    asked = [each["resourceAttributes"] for each in asks.asked]
    assert [each["name"] for each in asked if each["subresource"] == READ_LOGS.subresource] == [""]


@pytest.mark.parametrize("field", ["capsule", "worker", "call_id"])
async def test_a_name_that_is_too_long_is_refused_before_anything_is_asked(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, field: str
) -> None:
    asks.give(ADA, READ_LOGS)
    of = {"capsule": "c" * 300, "worker": f"{agent.name}/{'1' * 300}", "call_id": agent.name}[field]
    with pytest.raises(InvalidArguments, match=f"{field} has 3.. characters, 253 is the most"):
        await pool.log_lines(of, call_id="i" * 300 if field == "call_id" else "")
    assert READ_LOGS.subresource not in [each["resourceAttributes"]["subresource"] for each in asks.asked]


async def test_what_can_not_be_asked_is_said_in_a_sentence(server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool) -> None:
    asks.give(ADA, READ_LOGS)
    with pytest.raises(InvalidArguments, match="no capsule 'other-0' of pool"):
        await pool.log_lines("other-0/0")
    for limit in (-1, 1001):
        with pytest.raises(InvalidArguments, match=f"limit {limit} can't be: 1000 is the most"):
            await pool.log_lines(agent.name, limit=limit)


async def test_an_agent_that_is_older_or_silent_is_why_there_are_none_and_nobody_waits_long(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    asks.give(ADA, READ_LOGS)
    agent.on_log_lines = lambda _: None
    assert "did not answer within" in (await pool.log_lines(agent.name)).problem
    server.flow.pools[POOL].capsules[agent.incarnation].tells_log_lines = False
    assert "of a version that tells no lines" in (await pool.log_lines(agent.name)).problem
    assert not server.flow.log_lines.asked


async def test_only_so_many_ask_at_once_and_nobody_answers_for_another_capsule(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_ASKED", 1)
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 20.0)
    asks.give(ADA, READ_LOGS)
    asked: list[link_pb2.LogLinesRequest] = []
    agent.on_log_lines = asked.append
    (tmp_path / "agents").mkdir()
    async with known_agent(server.address, tmp_path / "agents", POOL, "other-0") as other:
        waiting = asyncio.create_task(pool.log_lines(agent.name))
        (request,) = await eventually(lambda: asked)
        capsules = server.flow.pools[POOL].capsules
        with pytest.raises(ServerUnavailable, match="are being asked for: try again"):
            await server.flow.log_lines.ask(capsules[other.incarnation], link_pb2.LogLinesRequest())
        other.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=encoded("forged")))
        beaten = capsules[other.incarnation].heard
        await eventually(lambda: capsules[other.incarnation].heard > beaten, "what it said before has come")
        agent.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=encoded("true")))
        agent.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=encoded("said twice")))
        assert [each.message for each in await waiting] == ["true"]


async def test_the_end_of_an_old_link_answers_no_question_that_the_new_one_was_asked(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 20.0)
    asks.give(ADA, READ_LOGS)
    asked: list[link_pb2.LogLinesRequest] = []
    newer = SimulatedAgent(server.address, name=agent.name, pool=POOL, pod_uid=agent.pod_uid, token_file=agent.token_file)
    newer.incarnation, newer.lives, newer.on_log_lines = agent.incarnation, agent.lives, asked.append
    agent.silent = True
    await newer.start()
    try:
        links = server.links.links
        assert len(links) >= 2
        waiting = asyncio.create_task(pool.log_lines(agent.name))
        (request,) = await eventually(lambda: asked)
        before = len(links)
        await agent.stop()
        await eventually(lambda: len(links) == before - 1, "the old link has ended")
        newer.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=encoded("true")))
        found = await waiting
        assert ([each.message for each in found], found.problem) == (["true"], "")
    finally:
        await newer.stop()


@pytest.mark.parametrize("lines", [["{}"] * 1001, ["x" * 300_000]], ids=["too many", "too long"])
async def test_an_agent_that_tells_more_than_it_may_is_hung_up_on(
    server: Running, agent: SimulatedAgent, asks: Reviewer, pool: Pool, lines: list[str]
) -> None:
    asks.give(ADA, READ_LOGS)

    def tell(request: link_pb2.LogLinesRequest) -> None:
        agent.linked.clear()
        agent.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=lines))

    agent.on_log_lines = tell
    assert "broke" in (await pool.log_lines(agent.name)).problem
    await asyncio.wait_for(agent.linked.wait(), 20)
