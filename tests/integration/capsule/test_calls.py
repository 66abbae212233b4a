"""A capsule with the real keeper and real workers answers calls over a real link."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from snakepit.author.state import CACHE_SECONDS
from snakepit.v1 import common_pb2
from support.capsules import capsule, spec
from support.replica import Replica, replica


async def test_a_call_comes_back_with_its_value(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        assert await control.value(control.call(worker, "add", {"a": 2, "b": 3})) == 5


async def test_the_tools_are_offered_and_the_workers_reported(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample", worker={"processes": 2}), control):
        workers = await control.ready(2)
        assert [worker.id for worker in workers] == ["sample-0/0", "sample-0/1"]
        assert all(worker.pid and worker.slots == 1 and worker.incarnation for worker in workers)
        await control.until(lambda: all(worker.rss_bytes for worker in control.workers()))  # measured once in some seconds
        offer = control.heard("offer")[-1]
        assert offer.description == "Sample tools."
        assert {"echo", "count", "sleep"} <= {tool.name for tool in offer.tools}
        capsule_said = control.hellos[0].capsule
        assert (capsule_said.name, capsule_said.pool) == ("sample-0", "default/sample")
        assert json.loads(capsule_said.settings.spec)["worker"]["processes"] == 2


async def test_an_exception_of_the_tool_is_a_result(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        result = await control.result(control.call(worker, "fail", {"message": "no such digit"}))
        assert (result.tool_error.type, result.tool_error.message) == ("LookupError", "no such digit")
        assert "raise LookupError" in result.tool_error.traceback


async def test_bad_arguments_are_refused_and_never_started(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        result = await control.result(control.call(worker, "add", {"a": "x"}))
        assert (result.error.reason, result.error.started) == ("INVALID_ARGUMENTS", 1)


async def test_a_large_call_reaches_the_tool_and_comes_back(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        text = "x" * 1_000_000
        assert await control.value(control.call(worker, "echo", {"value": text})) == text


async def test_a_result_over_the_limit_is_refused_with_the_limits_name() -> None:
    async with replica(max_large_payload_bytes=10_000) as control, capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        result = await control.result(control.call(worker, "large", {"size": 20_000}))
        assert (result.error.reason, result.error.started) == ("PAYLOAD_TOO_LARGE", 3)
        assert result.error.details["limit"] == "maxLargePayloadBytes"
        assert await control.value(control.call(worker, "add", {"a": 1})) == 2


async def test_a_second_call_on_a_busy_worker_is_rejected_at_once(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        running = control.call(worker, "sleep", {"seconds": 0.3})
        rejected = await control.rejected(control.call(worker, "echo"))
        assert rejected.reason == "NO_SLOT"
        assert await control.value(running) == "slept"


async def test_a_call_to_a_former_incarnation_is_rejected(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        worker.incarnation = "0" * 16
        assert (await control.rejected(control.call(worker, "echo"))).reason == "WORKER_GONE"


async def test_chunks_arrive_in_order_one_by_one_and_the_last_is_marked(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "count", {"to": 100}, stream=True)
        result = await control.streamed(id_)
        chunks = control.chunks[id_]
        assert [json.loads(chunk.payload.data) for chunk in chunks if chunk.HasField("payload")] == list(range(100))
        assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert result.WhichOneof("outcome") is None
        assert result.run_seconds > 0


async def test_an_exception_in_mid_stream_arrives_as_itself(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "break_off", stream=True)
        result = await control.streamed(id_)
        assert control.chunks[id_][-1].last
        assert control.chunks[id_][-1].tool_error.message == result.tool_error.message == "broken off"


async def test_a_unary_tool_called_as_a_stream_gives_one_chunk(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "add", {"a": 1}, stream=True)
        await control.streamed(id_)
        assert [json.loads(chunk.payload.data) for chunk in control.chunks[id_] if chunk.HasField("payload")] == [2]
        assert control.chunks[id_][-1].last


async def test_a_consumer_that_takes_nothing_holds_the_tool_back(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        control.take_chunks.clear()
        id_ = control.call(worker, "count", {"to": 500}, stream=True)
        await control.until(lambda: control.chunks.get(id_), "a first chunk")
        with pytest.raises(AssertionError):
            await control.until(lambda: len(control.chunks[id_]) > 64, seconds=0.3)
        control.take_chunks.set()
        await control.streamed(id_)
        assert len(control.chunks[id_]) >= 500


async def test_a_consumer_that_goes_away_stops_the_tool_and_frees_the_slot(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        control.refuse_chunks = True
        id_ = control.call(worker, "large_stream", stream=True)
        result = await control.result(id_)
        assert result.error.reason == "CANCELLED"
        assert await control.value(control.call(worker, "add", {"a": 1})) == 2


async def test_state_operations_carry_the_sessions_uid_and_epoch(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        session = {"session_id": "s", "session_uid": "uid-1", "session_epoch": 7}
        assert await control.value(control.call(worker, "remember", {"key": "k", "value": [1]}, **session)) == 1
        assert await control.value(control.call(worker, "recall", {"key": "k"}, **session)) == [1]
        assert {(r.session_id, r.session_uid, r.session_epoch, r.pool) for r in control.state_requests} == {
            ("s", "uid-1", 7, "default/sample")
        }


async def test_what_a_worker_has_read_or_written_a_moment_ago_is_not_asked_for_again_and_every_write_goes_through(control: Replica) -> None:
    control.state["outside"] = (common_pb2.Payload(content_type="application/json", data=b"7"), 1)
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        rounds = 0
        for epoch in range(1, 100):
            session, before = {"session_id": "s", "session_uid": "u", "session_epoch": epoch}, len(control.state_requests)
            began = time.monotonic()

            async def ask(tool: str, session: dict[str, object] = session, **arguments: object) -> object:
                return await control.value(control.call(worker, tool, arguments, **session))

            assert [await ask("recall", key="outside") for _ in range(2)] == [7, 7]
            for value in (1, 2):
                await ask("remember", key="k", value=value)
                assert await ask("recall", key="k") == value
            asked = [request.WhichOneof("operation") for request in control.state_requests[before:]]
            assert asked.count("set") == 2
            if time.monotonic() - began < CACHE_SECONDS:  # else a busy machine came to some reading after more than a moment
                assert asked == ["get", "set", "set"]
                rounds += 1
            if rounds == 5:
                return
        pytest.fail(f"only {rounds} rounds took less than {CACHE_SECONDS} s")


async def test_progress_reaches_the_replica(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "report", session_id="s", session_uid="u", metadata={"user": "ada"}, timeout_seconds=20)
        assert await control.value(id_) == ["s", {"user": "ada"}, True, "s"]
        assert [(p.id, p.fraction, p.message) for p in control.heard("progress")] == [(id_, 0.5, "half")]


async def test_four_calls_of_a_threaded_worker_run_together(control: Replica) -> None:
    threaded = spec("support.sample:Together", worker={"profile": "thread", "threads": 4})
    async with capsule(threaded, control):
        (worker,) = await control.ready()
        assert worker.slots == 4
        ids = [control.call(worker, "meet", {"parties": 4}) for _ in range(4)]
        assert sorted(await asyncio.gather(*map(control.value, ids))) == [0, 1, 2, 3]


async def test_many_short_calls_all_come_back_once(control: Replica) -> None:
    async with capsule(spec("support.sample:Sample"), control):
        (worker,) = await control.ready()
        ahead = 0
        async with asyncio.timeout(20):
            while not ahead:  # A busy machine may have made the tool look slow for a while.
                for i in range(20):
                    await control.value(control.call(worker, "echo", {"value": i}))
                ids = [control.call(worker, "echo", {"value": i}) for i in range(30)]
                await control.until(lambda ids=ids: {r.id for r in answers(control)} >= set(ids), "all of them")  # type: ignore[misc]
                # Whatever came after its answer would come before the answer to this.
                await control.value(control.call(worker, "add", {"a": 1}))
                assert sorted(r.id for r in answers(control) if r.id in ids) == ids, "each has one answer"
                results = {r.id: json.loads(r.payload.data) for r in control.heard("result") if r.id in ids}
                assert results == {id_: i for i, id_ in enumerate(ids) if id_ in results}
                ahead = len(results) - 1
        assert ahead >= 1, "short calls are taken ahead of the free slot"


def answers(control: Replica) -> list[Any]:
    return [*control.heard("result"), *control.heard("reject")]
