"""What happens to calls and workers when processes die, can't start, or won't stop."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time

import pytest

import snakepit_agent.main as agent_main
from snakepit.v1 import link_pb2, pool_pb2
from support.capsules import capsule, frozen, spec
from support.replica import Replica

NO, MAYBE, YES = 1, 2, 3


async def test_a_killed_worker_fails_its_call_at_once_and_is_replaced(control: Replica, caplog: pytest.LogCaptureFixture) -> None:
    """Well before anybody misses a heartbeat."""
    async with capsule(spec("support.stubborn:Stubborn", heartbeat={"intervalSeconds": 30, "timeoutSeconds": 120}), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 60})
        await control.begun(id_)
        killed = time.monotonic()
        os.kill(worker.pid, signal.SIGKILL)
        result = await control.result(id_)
        assert time.monotonic() - killed < 10
        assert (result.error.reason, result.error.started) == ("WORKER_LOST", MAYBE)
        assert result.error.details["how"] == "signal 9"
        (successor,) = await control.until(lambda: [w for w in control.workers() if w.pid not in (0, worker.pid) and w.state == 2])
        assert successor.incarnation != worker.incarnation
        assert successor.restarts == 1
        words = f"worker {worker.id} ended: signal 9 (SIGKILL: killed) (serving)"
        (told,) = [each for each in caplog.records if each.getMessage() == words]
        assert vars(told)["worker"] == worker.id
        assert await control.value(control.call(successor, "echo", {"value": 2})) == 2
        assert (await control.rejected(control.call(worker, "echo"))).reason == "WORKER_GONE"


@pytest.mark.parametrize("killed", ["worker", "keeper"])
async def test_a_call_that_a_killed_worker_had_not_read_goes_back_unstarted(control: Replica, killed: str) -> None:
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        (worker,) = await control.ready()
        assert local.keeper is not None
        async with frozen(worker.pid):
            id_ = control.call(worker, "echo")
            # A frame behind the call on the same link, whose answer proves that the call is in the inbox.
            await control.rejected(control.call(pool_pb2.Worker(id="nobody"), "echo"))
            os.kill(worker.pid if killed == "worker" else local.keeper.pid, signal.SIGKILL)
            assert (await control.rejected(id_)).reason == "WORKER_GONE"
        assert not control.heard("result")


async def test_when_the_keeper_is_killed_only_the_calls_that_had_begun_are_lost(control: Replica) -> None:
    async with capsule(spec("support.stubborn:Stubborn", worker={"processes": 2}), control) as local:
        first, second = await control.ready(2)
        begun = control.call(first, "hold", {"seconds": 60})
        await control.begun(begun)
        async with frozen(second.pid):
            unread = control.call(second, "echo")
            # A frame behind the call on the same link, whose answer proves that the call is in the inbox.
            await control.rejected(control.call(pool_pb2.Worker(id="nobody"), "echo"))
            assert local.keeper is not None
            local.keeper.kill()
            assert (await control.rejected(unread)).reason == "WORKER_GONE"
            lost = await control.result(begun)
        assert (lost.error.reason, lost.error.started) == ("WORKER_LOST", MAYBE)
        assert [result.id for result in control.heard("result")] == [begun]


async def test_a_worker_that_exits_says_with_which_code(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        result = await control.result(control.call(worker, "exit", {"code": 3}))
        assert (result.error.reason, result.error.details["how"]) == ("WORKER_LOST", "exit code 3")


async def test_a_call_that_had_ended_has_its_result_though_the_next_one_ends_the_worker(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        deaths = 0
        while deaths < 3:
            (worker,) = await control.ready()
            for _ in range(30):
                await control.value(control.call(worker, "count_down", {"left": 1}))
            ids = {control.call(worker, "count_down", {"left": left}) for left in range(8, -1, -1)}
            # On a busy machine some come back unstarted.
            await control.until(lambda ids=ids: ids <= {each.id for each in (*control.heard("result"), *control.heard("reject"))})
            lost = [result.id for result in control.heard("result") if result.id in ids and result.error.reason == "WORKER_LOST"]
            assert lost in ([], [max(ids)])
            deaths += len(lost)
            if lost:
                await control.until(lambda dead=worker: control.workers()[0].incarnation != dead.incarnation)


async def test_a_stream_of_a_killed_worker_ends_with_worker_lost(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        control.take_chunks.clear()
        id_ = control.call(worker, "count", {"to": 10_000}, stream=True)
        await control.until(lambda: control.chunks.get(id_))
        os.kill(worker.pid, signal.SIGKILL)
        control.take_chunks.set()
        await control.streamed(id_)
        assert control.chunks[id_][-1].last
        assert control.chunks[id_][-1].error.reason == "WORKER_LOST"


async def test_a_worker_that_dies_of_each_call_is_replaced_each_time_at_once(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        for _ in range(5):
            (worker,) = await control.ready()
            await control.value(control.call(worker, "add", {"a": 1}))
            await control.result(control.call(worker, "exit", {"code": 1}))
            await control.until(lambda dead=worker: control.workers()[0].incarnation != dead.incarnation)
        assert (await control.ready())[0].restarts == 5


@pytest.mark.parametrize(
    ("adapter", "worker", "reason", "says"),
    [
        ("support.sample:BadSetup", {}, "SetupFailed", "no model here"),
        ("support.sample:NoTools", {}, "AdapterInvalid", "tool"),
        ("support.nowhere:Adapter", {}, "AdapterInvalid", "nowhere"),
        ("support.broken_import:Broken", {}, "ImportFailed", ""),
        ("support.sample:BadSetup", {"startup": "spawn"}, "SetupFailed", "no model here"),
        ("support.sample:Sample", {"profile": "thread"}, "AdapterInvalid", "thread_safe"),
    ],
    ids=["setup raises", "no tools", "no module", "module raises", "setup raises, spawned", "not thread-safe"],
)
async def test_a_worker_that_cannot_start_backs_off_and_says_why(
    control: Replica, adapter: str, worker: dict[str, object], reason: str, says: str
) -> None:
    async with capsule(spec(adapter, worker=worker), control):
        failing = await control.state_of(pool_pb2.WORKER_STATE_BACKOFF)
        assert failing.reason == reason
        assert says in failing.message
        assert failing.restarts >= 3


async def test_a_setup_that_never_returns_is_reported_with_its_age_and_killed(control: Replica) -> None:
    quick = spec("support.sample:EndlessSetup", heartbeat={"intervalSeconds": 0.1}, restart={"maxRestarts": 0})
    async with capsule(quick, control, setup_timeout=2):
        await control.until(
            lambda: any(w.reason == "Starting" and "setup() has been running" in w.message for w in control.workers()),
            "setup() and its age",
        )
        failing = await control.state_of(pool_pb2.WORKER_STATE_BACKOFF)
        assert (failing.reason, failing.message) == ("SetupTimeout", "setup() did not return within 2 s")


async def test_a_tool_past_its_deadline_is_interrupted_and_its_worker_lives(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample", drain={"killAfterSeconds": 30}), control):
        (worker,) = await control.ready()
        result = await control.result(control.call(worker, "sleep", {"seconds": 60}, timeout_seconds=4))
        assert (result.error.reason, result.error.started) == ("DEADLINE", YES)
        assert result.error.message == "tool 'sleep' was interrupted: the deadline has passed"
        assert await control.value(control.call(worker, "add", {"a": 1})) == 2
        assert (await control.ready())[0].incarnation == worker.incarnation


@pytest.mark.parametrize("tool", ["clings", "counts_in_c"])
async def test_a_tool_that_will_not_stop_is_killed_and_only_its_worker(
    control: Replica, caplog: pytest.LogCaptureFixture, tool: str
) -> None:
    stubborn = spec("support.waiting:Waiting", worker={"processes": 2}, drain={"killAfterSeconds": 1})
    async with capsule(stubborn, control):
        first, second = await control.ready(2)
        result = await control.result(control.call(first, tool, timeout_seconds=4))
        assert (result.error.reason, result.error.started) == ("DEADLINE", YES)
        assert re.fullmatch(
            rf"the deadline passed, and tool {tool} did not stop: it was at support/waiting\.py:\d+ in {tool}", result.error.message
        )
        # The caller has its answer; the slot is still taken, and the replica is told so before that.
        kinds = [frame.WhichOneof("kind") for frame in control.frames if frame.WhichOneof("kind") in ("load", "result")]
        assert kinds[kinds.index("result") - 1] == "load"
        assert (await control.rejected(control.call(first, "echo", {"value": 1}))).reason == "NO_SLOT"
        await control.until(lambda: control.workers()[0].incarnation != first.incarnation and control.workers()[0].state == 2)
        assert control.workers()[1].incarnation == second.incarnation
        assert len(control.heard("result")) == 1
        stacks = next(message for message in caplog.messages if "wrote before it was killed" in message)
        assert "support/waiting.py" in stacks
        assert f" in {tool}\n" in stacks
        assert f"is killed: {result.error.message}" in caplog.text


async def test_in_the_thread_profile_a_tool_that_will_not_stop_takes_its_neighbours_along_and_each_is_told_why(control: Replica) -> None:
    threads = spec("support.waiting:Waiting", worker={"profile": "thread", "threads": 3}, drain={"killAfterSeconds": 1})
    async with capsule(threads, control):
        (worker,) = await control.ready()
        neighbour = control.call(worker, "wait", {"how": "event.wait"})
        clinging = control.call(worker, "clings", timeout_seconds=4)
        result = await control.result(clinging)
        assert (result.error.reason, result.error.started) == ("DEADLINE", YES)
        assert re.search(r"it was at support/waiting\.py:\d+ in clings", result.error.message)
        result = await control.result(neighbour)
        assert result.error.reason == "WORKER_LOST"
        assert "tool clings did not stop: it was at support/waiting.py" in result.error.message


async def test_whoever_asks_a_worker_for_its_stacks_finds_them_in_the_agents_log(
    control: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with capsule(spec("support.stubborn:Stubborn", heartbeat={"intervalSeconds": 0.1}), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 60})
        await control.begun(id_)
        os.kill(worker.pid, signal.SIGUSR1)
        await control.until(lambda: "was asked for its stacks" in caplog.text, "the stacks are logged")
        assert " in hold\n" in caplog.text


async def test_a_cancelled_call_ends_and_frees_its_slot(control: Replica) -> None:
    async with capsule(spec("support.stubborn:Stubborn"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 60})
        await control.begun(id_)
        control.send(cancel(id_))
        result = await control.result(id_)
        assert (result.error.reason, result.error.started) == ("CANCELLED", YES)
        assert await control.value(control.call(worker, "echo", {"value": 2})) == 2


def cancel(id_: int) -> link_pb2.Frame:
    return link_pb2.Frame(cancel=link_pb2.Cancel(id=id_, reason="CANCELLED"))


async def test_a_call_cancelled_before_it_began_never_runs(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        for _ in range(20):
            await control.value(control.call(worker, "echo"))
        async with frozen(worker.pid):
            ahead = control.call(worker, "echo")
            control.send(cancel(ahead))
            result = await control.result(ahead)
            assert (result.error.reason, result.error.started) == ("CANCELLED", NO)


async def test_calls_sent_ahead_of_a_stuck_worker_come_back_unstarted(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        for _ in range(20):
            # A busy machine may make a short tool look slow for a while: then nothing goes ahead.
            for _ in range(20):
                await control.value(control.call(worker, "echo"))
            async with frozen(worker.pid):
                ids = [control.call(worker, "echo", {"value": i}) for i in range(4)]
                if (await control.rejected(ids[-1])).reason == "RECALLED":
                    assert {(await control.rejected(id_)).reason for id_ in ids} == {"RECALLED"}
                    return
            await control.until(lambda sent=frozenset(ids): sent <= {r.id for r in control.heard("result") + control.heard("reject")})
        pytest.fail("nothing was ever sent ahead")


async def test_a_dead_keeper_loses_its_calls_and_the_next_keeper_starts_anew(control: Replica) -> None:
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 60})
        await control.begun(id_)
        assert local.keeper is not None
        local.keeper.kill()
        result = await control.result(id_)
        assert result.error.reason == "WORKER_LOST"
        await asyncio.wait_for(local.keeper.wait(), 10)
        await local.start_keeper()
        await control.until(lambda: control.workers()[0].state == 2 and control.workers()[0].incarnation != worker.incarnation)


async def test_term_lets_the_running_call_finish_and_ends_everything_with_code_0(control: Replica) -> None:
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 0.5})
        await control.begun(id_)
        local.stop.set()
        await control.until(lambda: control.heard("report")[-1].draining, "draining is reported")
        assert (await control.rejected(control.call(worker, "echo"))).reason == "DRAINING"
        assert await control.value(id_) == "held"
        await asyncio.wait_for(local.agent, 10)
        assert local.keeper is not None
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        assert not alive(worker.pid)


async def test_term_at_the_keeper_drains_too_and_the_next_container_serves_and_drains_again(
    control: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_main, "LINGER_SECONDS", 0.05)
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 0.5})
        await control.begun(id_)
        assert local.keeper is not None
        local.keeper.terminate()
        await control.until(lambda: control.heard("report")[-1].draining, "draining is reported")
        assert not control.heard("report")[-1].told_to_drain
        assert await control.value(id_) == "held"
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0
        await local.start_keeper()
        (successor,) = await control.ready()
        id_ = control.call(successor, "hold", {"seconds": 0.3})
        await control.begun(id_)
        local.stop.set()
        assert await control.value(id_) == "held"
        await asyncio.wait_for(local.agent, 10)


async def test_a_capsule_that_the_control_plane_drains_keeps_its_container_until_that_is_stopped(control: Replica) -> None:
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        (worker,) = await control.ready()
        control.send(link_pb2.Frame(drain=link_pb2.Drain()))
        await control.until(lambda: control.workers()[0].state == pool_pb2.WORKER_STATE_STOPPED)
        assert control.heard("report")[-1].told_to_drain
        assert not alive(worker.pid)
        assert local.keeper is not None
        with pytest.raises(TimeoutError):  # Its own rhythm: a keeper that is told to end does so within milliseconds.
            await asyncio.wait_for(local.keeper.wait(), 0.5)
        local.keeper.terminate()
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0


async def test_a_container_that_starts_again_in_a_drained_capsule_ends_when_it_is_stopped(
    control: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with capsule(spec("support.stubborn:Stubborn"), control) as local:
        await control.ready()
        control.send(link_pb2.Frame(drain=link_pb2.Drain()))
        await control.until(lambda: control.workers()[0].state == pool_pb2.WORKER_STATE_STOPPED)
        assert local.keeper is not None
        local.keeper.kill()
        await local.keeper.wait()
        await local.start_keeper()
        await control.until(lambda: caplog.text.count("with Python") == 2, "the second keeper is connected")
        local.keeper.terminate()
        assert await asyncio.wait_for(local.keeper.wait(), 10) == 0


async def test_a_call_longer_than_the_drain_is_ended_with_its_worker(control: Replica) -> None:
    short = spec("support.stubborn:Stubborn", drain={"timeoutSeconds": 1, "killAfterSeconds": 1})
    async with capsule(short, control) as local:
        (worker,) = await control.ready()
        id_ = control.call(worker, "cling")
        await control.begun(id_)
        local.stop.set()
        error = (await control.result(id_)).error
        assert (error.reason, error.details["how"]) == ("WORKER_LOST", "signal 15")
        assert error.message == (
            "worker sample-0/0 died during the call: signal 15 (SIGTERM: terminated): "
            "it was being stopped, and the time for running calls was over"
        )
        await asyncio.wait_for(local.agent, 10)
        assert not alive(worker.pid)


async def test_a_drained_worker_is_replaced_as_a_recycled_one_is(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample", worker={"processes": 2}), control):
        first, second = await control.ready(2)
        control.send(link_pb2.Frame(drain=link_pb2.Drain(worker=first.id, incarnation=first.incarnation)))
        control.send(link_pb2.Frame(drain=link_pb2.Drain(worker=second.id, incarnation=second.incarnation, recycle=True)))
        gone = {first.incarnation, second.incarnation}
        await control.until(lambda: all(each.state == 2 and each.incarnation not in gone for each in control.workers()))
        assert [each.id for each in control.workers()] == [first.id, second.id]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
