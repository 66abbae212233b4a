"""What a worker's process says of calls, in the worker's place: it concerns its own calls alone, and harms no other's, nor the link."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from snakepit.v1 import pool_pb2
from support.capsules import capsule, spec
from support.forging import GARBAGE, LIES, ODD
from support.replica import Replica, replica

ADAPTER = "support.forging"
IDS = 64


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_that_speaks_of_a_siblings_call_is_ended_and_the_call_is_not_touched(
    lie: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    go = tmp_path / "go"
    async with replica() as control, capsule(spec(ADAPTER, worker={"processes": 2}), control):
        victim, forger = await control.ready(2)
        session = {"session_id": "s", "session_uid": "u", "session_epoch": 1}
        waiting = control.call(victim, "wait", {"path": str(go)}, **session)
        forged = await control.result(control.call(forger, "forge", {"lie": lie, "ids": IDS}))
        assert forged.error.reason == "WORKER_LOST", forged
        assert "it spoke of call 1, which another worker runs" in forged.error.message
        go.touch()
        assert await control.value(waiting) == "own"
        await until_replaced(control, forger)
        assert control.workers()[0].incarnation == victim.incarnation
        assert not control.state_requests
        assert not any(control.heard(kind) for kind in ("progress", "nested_call"))
        assert await control.value(control.call((await control.ready(2))[1], "wait", {"path": str(go)})) == "own"
    told = [record.getMessage() for record in caplog.records if "it spoke of call 1, which another worker runs" in record.getMessage()]
    assert sum(message.startswith("worker sample-0/1 is killed") for message in told) == 1


@pytest.mark.parametrize("lie", ODD)
async def test_whatever_a_worker_says_of_its_own_call_harms_neither_the_link_nor_its_siblings(lie: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with replica() as control, capsule(spec(ADAPTER, worker={"processes": 2}, drain={"killAfterSeconds": 1}), control):
        sibling, odd = await control.ready(2)
        waiting = control.call(sibling, "wait", {"path": str(go)})
        session = {"session_id": "s", "session_uid": "u", "session_epoch": 1}
        asked = control.call(odd, "odd", {"lie": lie, "id": 2}, **session)
        await control.result(asked)
        go.touch()
        assert await control.value(waiting) == "own"
        assert len(control.hellos) == 1, "its link broke"


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_ends_its_worker_alone_once_and_with_a_reason_that_is_logged_and_reported(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    go = tmp_path / "go"
    async with replica() as control, capsule(spec(ADAPTER, worker={"processes": 2}), control):
        sibling, odd = await control.ready(2)
        waiting = control.call(sibling, "wait", {"path": str(go)})
        asked = await control.result(control.call(odd, "garbage", {"name": name, "id": 2}))
        assert asked.error.reason == "WORKER_LOST", asked
        await until_replaced(control, odd)
        go.touch()
        assert await control.value(waiting) == "own"
        assert await control.value(control.call((await control.ready(2))[1], "wait", {"path": str(go)})) == "own"
        reported = [each for heard in control.heard("report") for each in heard.workers if each.id == odd.id and each.reason]
        assert {each.reason for each in reported} >= {"ChannelBroken"}, reported
        assert "box can't be read: " in reported[-1].message
        assert control.workers()[0].incarnation == sibling.incarnation
        assert len(control.hellos) == 1, "its link broke"
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("worker sample-0/1 is killed")]
    assert len(told) == 1, told


@pytest.mark.parametrize(("what", "told"), [("state", "STATE_QUOTA"), ("a call", "PAYLOAD_TOO_LARGE"), ("progress", "taken")])
async def test_who_asks_for_too_much_is_told_so_and_serves_on(what: str, told: str) -> None:
    async with replica() as control, capsule(spec(ADAPTER), control):
        (worker,) = await control.ready()
        session = {"session_id": "s", "session_uid": "u", "session_epoch": 1}
        assert await control.value(control.call(worker, "too_much", {"what": what, "size": 20 << 20}, **session)) == told
        at_once = control.call(worker, "much_at_once", {"size": 7 << 20, "times": 3}, **session)
        assert await control.value(at_once) == ["STATE_QUOTA"] * 3
        assert control.workers()[0].incarnation == worker.incarnation


async def until_replaced(control: Replica, worker: pool_pb2.Worker) -> None:
    async with asyncio.timeout(20):
        while any(each.incarnation == worker.incarnation for each in control.workers()):
            await asyncio.sleep(0.01)
