"""Which waiting calls were lost with a link, and which provably never left."""

from __future__ import annotations

import asyncio

import pytest

from snakepit._ipc import frames
from snakepit._wire import Link
from snakepit._wire.dial import Replica
from snakepit._wire.stream_lane import StreamLane
from snakepit.client.codec import decode, encode_answer, encode_state, fill_arguments, outcome
from snakepit.client.peer import NotWritten, Peer
from snakepit.client.requests import affinity_value
from snakepit.errors import InvalidArguments, PoolSaturated, ReplicaLost, SnakepitError, Started, ToolError
from snakepit.v1 import common_pb2, link_pb2


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_call_that_was_written_is_lost_and_one_that_waited_to_be_written_is_not() -> None:
    link = Link(lambda *_: None)
    link.use(StreamLane(never, never, link_pb2.LinkRequest))
    peer = Peer(Replica(link, None, "127.0.0.1:1", "r", 0, 0))  # type: ignore[arg-type]
    running = asyncio.create_task(link.run())
    futures = []
    for batch in ("written", "queued"):
        id_ = link.next_id()
        peer.waiting[id_] = asyncio.get_running_loop().create_future()
        futures.append(peer.waiting[id_])
        link.send(link_pb2.Frame(call=link_pb2.Call(id=id_, tool=batch)))
        async with asyncio.timeout(20):
            while batch == "written" and link.unwritten:
                await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    peer.give_up("broken")
    with pytest.raises(ReplicaLost) as lost:
        await futures[0]
    assert lost.value.started is Started.MAYBE
    with pytest.raises(NotWritten):
        await futures[1]


@pytest.mark.parametrize("value", [None, 1, "ä", [1.5, {"a": []}], b"\0", {"nested": [b"x", b"y"]}], ids=repr)
def test_values_survive_the_wire_and_the_state(value: object) -> None:
    assert decode(encode_answer(value)) == value
    assert decode(encode_state(value)) == value
    assert not encode_state(value).attachments


@pytest.mark.parametrize(
    "result", [common_pb2.Payload(data=b"{"), frames.Payload(b"{", "application/json")], ids=["in its frame", "in pieces"]
)
def test_a_result_that_can_not_be_read_is_one_of_a_tool_that_has_run(result: common_pb2.Payload | frames.Payload) -> None:
    with pytest.raises(SnakepitError, match="the payload is not application/json") as unreadable:
        decode(result)
    assert unreadable.value.started is Started.YES


def test_arguments_that_are_no_mapping_are_refused() -> None:
    wire = common_pb2.Payload()
    fill_arguments(wire, None)
    assert wire.data == b"{}"
    with pytest.raises(InvalidArguments, match="mapping"):
        fill_arguments(wire, [1])  # type: ignore[arg-type]


def test_an_unknown_affinity_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArguments, match="hint, strict_queue or strict_fail_fast"):
        affinity_value("sticky")


def test_a_result_is_a_value_or_the_exception_that_it_carries() -> None:
    assert outcome(link_pb2.Result(payload=encode_answer([1]))) == [1]
    with pytest.raises(ToolError, match="KeyError: 'a'"):
        outcome(link_pb2.Result(tool_error=common_pb2.ToolError(type="KeyError", message="'a'")))
    with pytest.raises(PoolSaturated) as caught:
        outcome(link_pb2.Result(error=common_pb2.Error(reason="POOL_SATURATED", message="full", started=1, retry_after_seconds=2)))  # type: ignore[arg-type]
    assert (caught.value.started, caught.value.retry_after) == (Started.NO, 2)
    with pytest.raises(SnakepitError, match="another version"):
        outcome(link_pb2.Result())


def test_a_result_that_cant_be_read_is_no_fault_of_the_arguments() -> None:
    for broken in (common_pb2.Payload(data=b"{"), common_pb2.Payload(data=b"x", content_type="application/x-python-pickle")):
        with pytest.raises(SnakepitError) as caught:
            outcome(link_pb2.Result(payload=broken))
        assert (caught.value.reason, caught.value.started) == ("INTERNAL", Started.YES)
