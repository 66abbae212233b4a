"""What is wrong with a control plane and its pools: each is made, and is said in a sentence with what to do."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit.cli.doctor import examination
from snakepit.cli.doctor import replicas as of_replicas
from snakepit.cli.doctor.codes import Code
from snakepit.client.findings import Finding
from snakepit_control_plane.flow.sessions import upkeep
from snakepit_control_plane.model import store_pace
from snakepit_control_plane.server import Running, make_store
from snakepit_control_plane.servers import replica as replica_module
from support.callers import ADA, put, token
from support.control_plane import eventually, replica, waiting
from support.go_tools import ROOT
from support.issuer import Issuer
from support.redis_server import redis_server
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.tasks import task

from .conftest import Examined


async def test_nothing_is_wrong(examined: Examined, server: Running) -> None:
    async with one(server.address):
        assert await examined(server.address) == {}
        assert await examined(server.address, POOL) == {}


def one(address: str, pool: str = POOL, **sections: Any) -> AbstractAsyncContextManager[SimulatedAgent]:
    """The one capsule of a pool that is to have one."""
    return simulated_agent(address, name=pool.partition("/")[2], pool=pool, settings=settings(pool, replicas=1, **sections))


def shown(finding: Finding) -> bool:
    """Does the doctor's page show it so, as the command line prints it? … stands for anything there, and a number for any."""
    transcript = (ROOT / "docs/troubleshooting.md").read_text().partition("```\n")[2]
    (line,) = [each for each in transcript.splitlines() if f": {finding.reason}: " in each]
    said = line.removeprefix("note: ").partition(": ")[2]
    pattern = re.sub(r"\d+", r"\\d+", ".*".join(map(re.escape, said.split("…"))))
    return bool(re.fullmatch(pattern, f"{finding.reason}: {finding.message}"))


# ---- the control plane


async def test_a_store_that_is_down(examined: Examined) -> None:
    with redis_server() as redis:
        async with replica(make_store(redis.url)) as server, one(server.address):
            assert await examined(server.address) == {}
            redis.kill()
            await eventually(lambda: bool(server.store.problem), "it is noticed")
            found = await examined(server.address)
    assert list(found) == [Code.STORE_UNAVAILABLE]
    assert "sessions and idempotency keys fail (STORE_UNAVAILABLE) and other calls go on" in found[Code.STORE_UNAVAILABLE].message
    assert shown(found[Code.STORE_UNAVAILABLE])


async def test_a_store_that_answers_slowly(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_pace, "SPELL_SECONDS", 1.0)
    monkeypatch.setattr(upkeep, "COUNT_SECONDS", 0.05)
    found: dict[str, Finding] = {}

    async def is_said() -> bool:
        nonlocal found
        found = await examined(server.address)
        return list(found) == [Code.STORE_SLOW]

    with redis_server() as redis:
        async with replica(make_store(redis.url)) as server, one(server.address):
            async with task(redis.answer_slowly()):
                await eventually(is_said, "the doctor says it", 30)
            await eventually(lambda: _found(examined, server.address), "the store is well again", 30)
    message = found[Code.STORE_SLOW].message
    said = re.match(r"it answers slowly: one answer in a hundred takes (\d+) ms, and each call with a session waits", message)
    assert said
    assert 250 < int(said[1]) < 15_000, "a busy machine adds to it"
    assert "give Redis more (redis.resources), put it into the control plane's zone" in message


async def test_a_store_that_will_forget_and_a_port_of_lanes_that_nobody_reaches(
    examined: Examined, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica(store_note="they vanish with its pod") as server, one(server.address):
        await server.lanes.stop()
        found = await examined(server.address)
        monkeypatch.setenv("SNAKEPIT_LANES", "off")
        spared = await examined(server.address)
    assert found.keys() == {Code.STORE_FORGETS, Code.LANES_CLOSED}
    assert {each.severity for each in found.values()} == {"note"}
    assert "sessions can be read and written; they vanish with its pod: give the store a volume" in found[Code.STORE_FORGETS].message
    assert "1 of 1 replicas can't be reached at the port of lanes (7802)" in found[Code.LANES_CLOSED].message
    assert list(spared) == [Code.STORE_FORGETS]


async def test_a_replica_that_is_away_and_one_that_takes_no_new_calls(examined: Examined) -> None:
    async with replica() as first, replica() as second, replica() as third:
        await second.stop(linger=0, drain=0)
        third.stopping = True
        found = await examined(f"{first.address},{second.address},{third.address}")
        third.stopping = False
    assert found.keys() == {Code.REPLICA_AWAY, Code.REPLICA_NOT_READY, Code.NO_POOLS}
    assert f"the replica at {second.address}, one of 3 addresses of" in found[Code.REPLICA_AWAY].message
    assert found[Code.REPLICA_NOT_READY].severity == "note"


async def test_a_replica_that_is_linked_and_answers_nothing(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose node is cut off: nothing breaks, and nothing comes."""

    async def hangs(self: object, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await asyncio.Event().wait()

    async with replica() as first:
        monkeypatch.setattr(replica_module.ReplicaServicer, "GetReplica", hangs)
        async with replica() as second, one(first.address):
            found = await examined(f"{first.address},{second.address}")
    assert Code.REPLICA_SILENT in found
    assert f"the replica at {second.address} is linked and doesn't answer: calls go to the others" in found[Code.REPLICA_SILENT].message


async def test_an_upgrade_that_has_come_to_a_halt(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica is of the next release."""
    answer = replica_module.ReplicaServicer.GetReplica

    async def newer(self: replica_module.ReplicaServicer, request: Any, context: Any) -> Any:
        response = await answer(self, request, context)
        response.version = "0.0.99"
        return response

    async with replica() as first:
        monkeypatch.setattr(replica_module.ReplicaServicer, "GetReplica", newer)
        async with replica() as second, one(first.address):
            found = await examined(f"{first.address},{second.address}")
    assert "an upgrade is under way, or has come to a halt" in found[Code.VERSIONS_MIXED].message
    assert found[Code.VERSIONS_MIXED].severity == "note"
    assert shown(found[Code.VERSIONS_MIXED])


async def test_an_operator_that_is_away(examined: Examined, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_replicas, "AWAY_SECONDS", 0.0)
    found = await examined(server.address)
    assert "no operator has been linked to the control plane for" in found[Code.OPERATOR_AWAY].message
    with server.fleet.roster.listening():
        assert Code.OPERATOR_AWAY not in await examined(server.address)
        async with replica() as other:
            found = await examined(f"{server.address},{other.address}")
    assert "1 of 2 replicas have no operator" in found[Code.OPERATOR_UNHEARD].message


async def test_a_control_plane_of_a_release_that_is_too_far_away(
    examined: Examined, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "__version__", "7.1.0")
    found = await examined(server.address)
    assert "the control plane 7.1.0: only neighbouring releases work together: upgrade this program" in found[Code.VERSION_SKEW].message


async def test_a_control_plane_that_is_older_than_the_question(
    examined: Examined, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no such RPC."""

    async def older(self: object, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    async with replica() as first:
        monkeypatch.setattr(replica_module.ReplicaServicer, "GetReplica", older)
        async with replica() as second:
            alone, both = await examined(second.address), await examined(f"{first.address},{second.address}")
    assert alone[Code.NOT_LOOKED_AT].severity == "note"
    assert Code.NOT_LOOKED_AT in both


async def test_a_clock_that_is_wrong_by_what_replicas_say_and_by_a_token_that_only_they_take_to_be_past(
    examined: Examined, signs: Issuer, asks: Reviewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor's own clock is the one that is wrong."""
    behind = time.time() - 7200
    (tmp_path / "own").write_text("own")
    file = put(tmp_path / "ada", token(ADA, exp=int(behind + 3600), nbf=int(behind), iat=int(behind)))
    monkeypatch.setattr("snakepit.cli.doctor.examination.now", lambda: behind)
    async with replica() as server:
        by_word = await examined(server.address)
    async with replica(authentication=signs.settings(api_server=asks.url, token_file=str(tmp_path / "own"))) as server:
        by_token = await examined(server.address, token_file=str(file))
    assert "its clock is 2 h ahead of this machine's" in by_word[Code.CLOCK_SKEW].message
    assert list(by_token) == [Code.CLOCK_SKEW]
    assert "the token is past its time, by a clock that is 2 h ahead" in by_token[Code.CLOCK_SKEW].message


# ---- pools


async def test_pools_that_there_was_no_time_for(examined: Examined, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "POOLS_SECONDS", 0.0)
    async with one(server.address, "a/one"), one(server.address, "a/two"):
        found = await examined(server.address)
    assert list(found) == [Code.NOT_LOOKED_AT]
    assert "2 of 2 pools could not be looked at within 0 s" in found[Code.NOT_LOOKED_AT].message


async def test_a_pool_that_there_is_not_and_one_that_is_meant(examined: Examined, server: Running) -> None:
    async with one(server.address, "shop/digits"), one(server.address, "team/notes"):
        near, other = await examined(server.address, "shop/digit"), await examined(server.address, "default/notes")
    nothing = await examined(server.address, "shop/xyz")
    assert list(near) == list(other) == [Code.POOL_UNKNOWN]
    assert "no pool shop/digit: did you mean shop/digits?" in near[Code.POOL_UNKNOWN].message
    assert "did you mean team/notes?" in other[Code.POOL_UNKNOWN].message
    assert list(nothing) == [Code.POOL_UNKNOWN]


@pytest.mark.parametrize(
    ("sections", "code", "severity", "advice"),
    [
        ({"suspended": True}, Code.SUSPENDED, "error", "set spec.suspended to false"),
        ({"replicas": 0}, Code.SCALED_TO_ZERO, "error", "spec.replicas is 0"),
        ({"autoscaling": {"minReplicas": 0, "maxReplicas": 2}}, Code.SCALED_TO_ZERO, "note", "the first call waits"),
    ],
    ids=["suspended", "no replicas", "autoscaled"],
)
async def test_a_pool_at_zero_is_nothing_wrong_until_somebody_asks_about_it(
    examined: Examined, server: Running, sections: dict[str, Any], code: Code, severity: str, advice: str
) -> None:
    server.fleet.sync([settings(**sections)], complete=True, drain=[])
    assert await examined(server.address) == {}
    found = await examined(server.address, POOL)
    assert list(found) == [code]
    assert found[code].severity == severity
    assert advice in found[code].message


async def test_a_queue_that_is_full(examined: Examined, server: Running, client: Client) -> None:
    async with one(server.address, queue={"maxSize": 1}) as agent:
        calls = [asyncio.create_task(client.pool(POOL).call("hang", {}, timeout=50)) for _ in range(2)]
        await eventually(lambda: waiting(server) == 1, "one waits")
        found = await examined(server.address)
        agent.let_go()
        await asyncio.gather(*calls)
    assert list(found) == [Code.QUEUE_FULL]
    assert "more are refused (POOL_SATURATED): give it more capsules, or raise queue.maxSize" in found[Code.QUEUE_FULL].message
    assert shown(found[Code.QUEUE_FULL])


async def test_a_pool_that_has_as_many_sessions_as_it_may(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "COUNT_SECONDS", 0.05)
    async with (
        replica() as server,
        one(server.address, session={"maxSessions": 5}),
        Client(server.address) as client,
    ):
        for code, count in ((Code.SESSIONS_NEARLY_FULL, 4), (Code.SESSIONS_FULL, 1)):
            for _ in range(count):
                async with client.pool(POOL).session():
                    pass
            await eventually(lambda code=code: _found(examined, server.address, code), "it is counted")


async def _found(examined: Examined, address: str, *codes: Code) -> bool:
    return list(await examined(address)) == [*codes]


# ---- workers


async def test_a_capsule_whose_node_is_dead(examined: Examined, server: Running) -> None:
    """Its links stay, and nothing comes: at first it is suspect, and when it is lost it is one that is missing."""
    beats = {"intervalSeconds": 0.5, "timeoutSeconds": 5}
    async with (
        simulated_agent(server.address, name="well", settings=settings(replicas=2, heartbeat=beats)),
        simulated_agent(server.address, name="dead", settings=settings(replicas=2, heartbeat=beats)) as dead,
    ):
        assert await examined(server.address) == {}
        dead.silent = True
        silent = (Code.CAPSULES_MISSING, Code.CAPSULE_SILENT)
        await eventually(lambda: _found(examined, server.address, *silent), "it is suspect", 30)
        await eventually(lambda: _found(examined, server.address, Code.CAPSULES_MISSING), "it is lost", 30)
        dead.silent = False


async def test_a_worker_that_ended_for_want_of_memory_and_a_capsule_that_is_missing(examined: Examined, server: Running) -> None:
    ended = "OutOfMemory: the kernel killed it for want of memory"
    async with simulated_agent(server.address, settings=settings(replicas=2), ended=ended):
        found = await examined(server.address)
    assert found.keys() == {Code.OUT_OF_MEMORY, Code.CAPSULES_MISSING}
    assert "raise the memory limit of the container `worker` in spec.template" in found[Code.OUT_OF_MEMORY].message
