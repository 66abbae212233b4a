"""Workers that say nothing: who is busy, who is gone, and what happens then."""

from __future__ import annotations

import os
import signal

import pytest

from snakepit.v1 import pool_pb2
from support.capsules import capsule, frozen, spec
from support.replica import Replica

QUICK = spec("support.waiting:Waiting", heartbeat={"intervalSeconds": 0.1, "missThreshold": 3, "timeoutSeconds": 1.5})
PATIENT = spec("support.waiting:Waiting", heartbeat={"intervalSeconds": 0.1, "missThreshold": 3, "timeoutSeconds": 60})


async def replaced(control: Replica, worker: pool_pb2.Worker) -> pool_pb2.Worker:
    def successor() -> pool_pb2.Worker | None:
        return next((w for w in control.workers() if w.incarnation != worker.incarnation and w.state == pool_pb2.WORKER_STATE_READY), None)

    return await control.until(successor, "the worker is replaced")


async def test_a_stopped_worker_is_found_and_replaced(control: Replica, caplog: pytest.LogCaptureFixture) -> None:
    async with capsule(QUICK, control):
        (worker,) = await control.ready()
        os.kill(worker.pid, signal.SIGSTOP)
        successor = await replaced(control, worker)
        assert "it ran no call and did not answer for 1.5 s" in caplog.text
        assert await control.value(control.call(successor, "echo", {"value": 2})) == 2


async def test_a_worker_whose_interpreter_is_held_while_no_call_runs_is_replaced(control: Replica) -> None:
    async with capsule(QUICK, control):
        (worker,) = await control.ready()
        await control.value(control.call(worker, "leaves_a_thread_that_holds_the_interpreter"))
        await replaced(control, worker)


async def test_a_call_that_holds_the_interpreter_is_busy_and_heartbeats_go_on(control: Replica) -> None:
    async with capsule(QUICK, control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "holds_the_interpreter", {"seconds": 4.0})
        await control.begun(id_)
        beats = len(control.heard("report"))
        assert await control.value(id_) == "held"
        assert len(control.heard("report")) >= beats + 5
        assert control.workers()[0].incarnation == worker.incarnation


async def test_a_worker_that_does_not_answer_gets_no_calls_until_it_does(control: Replica) -> None:
    async with capsule(PATIENT, control):
        (worker,) = await control.ready()
        async with frozen(worker.pid):
            silent = await control.until(lambda: next((w for w in control.workers() if w.reason == "NotAnswering"), None))
            assert silent.message == "it runs no call and does not answer: it gets no new ones"
            assert (await control.rejected(control.call(worker, "echo"))).reason == "NO_SLOT"
        await control.until(lambda: control.workers()[0].reason == "", "it answers")
        assert await control.value(control.call(worker, "echo", {"value": 1})) == 1


async def test_a_worker_that_reads_no_call_is_not_sent_the_same_again(control: Replica) -> None:
    rare = spec("support.waiting:Waiting", heartbeat={"intervalSeconds": 60, "timeoutSeconds": 300})
    async with capsule(rare, control):
        (worker,) = await control.ready()
        async with frozen(worker.pid):
            assert (await control.rejected(control.call(worker, "echo"))).reason == "RECALLED"
            assert (await control.rejected(control.call(worker, "echo"))).reason == "NO_SLOT"
        await control.until(lambda: control.workers()[0].reason == "", "it answers")
        assert await control.value(control.call(worker, "echo", {"value": 1})) == 1


async def test_a_stopped_worker_under_calls_is_replaced_too_and_they_come_back_unstarted(control: Replica) -> None:
    async with capsule(QUICK, control):
        (worker,) = await control.ready()
        os.kill(worker.pid, signal.SIGSTOP)
        assert (await control.rejected(control.call(worker, "echo"))).reason == "RECALLED"
        await replaced(control, worker)
