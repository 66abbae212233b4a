"""Every row of docs/payloads.md through a real control plane, agent and worker: from the SDK, and from plain gRPC in both forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import msgspec
import pandas
import pytest
from google.protobuf import json_format

import snakepit
from snakepit import Attachment, Client, InvalidArguments, PayloadWarning
from snakepit._ipc.frames import Payload
from snakepit._values.foreign import REMEDY
from snakepit._values.payloads import MSGPACK, PICKLE, decode
from snakepit.v1 import common_pb2, router_pb2, router_pb2_grpc
from support.control_plane import rpc
from support.dev_server import Dev, pool_file, ready_dev
from support.foreign import FOREIGN
from support.rows import LOCK, MARKED, ROWS, UTC, Point, Row, same

every_row = pytest.mark.parametrize("name", ROWS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("pools")
    trusting = pool_file(folder, "trusting", "support.values:Values", replicas="1", call="{payloads: [json, msgpack, pickle]}")
    usual = pool_file(folder, "usual", "support.values:Values", replicas="1")
    with ready_dev(trusting, usual) as program:
        yield program


@pytest.fixture
async def stub(server: Dev) -> AsyncIterator[router_pb2_grpc.RouterServiceStub]:
    async with grpc.aio.insecure_channel(server.server) as channel:
        yield router_pb2_grpc.RouterServiceStub(channel)


@every_row
async def test_a_value_goes_to_a_tool_and_comes_back(client: Client, name: str) -> None:
    row = ROWS[name]
    for encoding in ("json", "msgpack"):
        pool = client.pool("usual", payload=encoding)  # type: ignore[arg-type]
        assert same(await pool.call("echo", {"value": row.value}, timeout=10), row.back)
        assert same(await pool.call("make", {"name": name}, timeout=10), row.back)


async def test_values_come_back_as_chunks_too(client: Client) -> None:
    for encoding in ("json", "msgpack"):
        pool = client.pool("usual", payload=encoding)  # type: ignore[arg-type]
        chunks = [chunk async for chunk in pool.stream("make_each", {"names": list(ROWS)}, timeout=10)]
        assert all(map(same, chunks, [row.back for row in ROWS.values()]))


async def test_values_are_kept_in_state(client: Client) -> None:
    async with client.pool("usual").session(delete=True) as session:
        for name, row in ROWS.items():
            await session.state.set(name, row.value)
            assert same(await session.state.get(name), row.back), name


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("name", FOREIGN)
async def test_a_value_of_a_library_goes_to_a_tool_and_comes_back(client: Client, name: str, encoding: Any) -> None:
    row, pool = FOREIGN[name], client.pool("usual", payload=encoding)
    made = await pool.call("make", {"name": name}, timeout=30)
    echoed = await pool.call("echo", {"value": row.value}, timeout=30)
    assert (type(made), type(echoed)) == (row.back, row.back)
    assert row.read(made) == row.read(echoed) == row.read(row.value)


async def test_who_passes_results_on_gets_attachments_as_they_are(client: Client) -> None:
    pool = client.pool("usual", attachments=True)
    value = {"raw": b"\xff", "file": Attachment("application/pdf", b"%PDF"), "image": FOREIGN["image"].value, "big": bytes(1 << 20)}
    back = await pool.call("echo", {"value": value}, timeout=30)
    assert {name: each.content_type for name, each in back.items()} == {
        "raw": "application/octet-stream",
        "file": "application/octet-stream",  # the tool has got bytes
        "image": "application/octet-stream",
        "big": "application/octet-stream",
    }
    assert (await pool.call("make", {"name": "image"}, timeout=30)).content_type == "image/png"
    async with pool.session(delete=True) as session:
        assert (await session.call("make", {"name": "image"}, timeout=30)).content_type == "image/png"
    assert [each.content_type async for each in pool.stream("make", {"name": "image"}, timeout=30)] == ["image/png"]


async def test_a_tool_gets_the_tables_that_its_annotations_ask_for(client: Client) -> None:
    frame, image = FOREIGN["frame of pandas"].value, FOREIGN["image"].value
    for table in (frame, FOREIGN["frame of polars"].value, [{"a": 1}, {"a": 2}]):
        arguments = {"frame": table, "other": table, "table": table, "image": image}
        arrived = await client.pool("usual").call("tables", arguments, timeout=30)
        assert arrived == ["DataFrame", "DataFrame", "Table", "PngImageFile", 2, 2, 2, [2, 2]]


async def test_a_large_table_is_a_table_still_in_a_stream_too(client: Client) -> None:
    frame = pandas.DataFrame({"n": range(200_000), "x": 0.5})
    pool = client.pool("usual")
    assert (await pool.call("echo", {"value": frame}, timeout=30)).equals(frame)
    assert [each.shape async for each in pool.stream("echo", {"value": frame}, timeout=30)] == [frame.shape]


async def execute(stub: Any, tool: str, **arguments: Any) -> router_pb2.ExecuteResponse:
    return await rpc(stub.Execute(router_pb2.ExecuteRequest(pool="usual", tool=tool, **arguments), timeout=10))  # type: ignore[no-any-return]


@every_row
async def test_plain_grpc_in_the_json_form(stub: router_pb2_grpc.RouterServiceStub, name: str) -> None:
    row = ROWS[name]
    made = await execute(stub, "make", json={"name": name})
    assert json_format.MessageToDict(made.json) == row.json_form
    request = json_format.ParseDict({"pool": "usual", "tool": "echo", "json": {"value": row.json_form}}, router_pb2.ExecuteRequest())
    echoed = await rpc(stub.Execute(request, timeout=10))
    assert json_format.MessageToDict(echoed.json) == row.json_form


@every_row
async def test_plain_grpc_in_the_payload_form(stub: router_pb2_grpc.RouterServiceStub, name: str) -> None:
    row = ROWS[name]
    made = await execute(stub, "make", payload=common_pb2.Payload(data=f'{{"name":"{name}"}}'.encode()))
    assert_is_as_the_table_says(made.payload, row)
    sent = common_pb2.Payload(data=f'{{"value":{row.text}}}'.encode())
    for data, dtype, shape in row.attachments:
        sent.attachments.add(data=data, dtype=dtype, shape=shape, content_type="application/x-ndarray" if dtype else "")
    assert_is_as_the_table_says((await execute(stub, "echo", payload=sent)).payload, row)


def assert_is_as_the_table_says(payload: common_pb2.Payload, row: Row) -> None:
    assert (payload.content_type, payload.data.decode()) == ("application/json", row.text)
    assert tuple((a.data, a.dtype, tuple(a.shape)) for a in payload.attachments) == row.attachments


async def test_plain_grpc_in_msgpack(stub: router_pb2_grpc.RouterServiceStub) -> None:
    sent = common_pb2.Payload(content_type=MSGPACK, data=msgspec.msgpack.encode({"value": {"b": b"\0", "n": float("inf")}}))
    reply = await execute(stub, "echo", payload=sent)
    assert reply.payload.content_type == MSGPACK
    assert msgspec.msgpack.decode(reply.payload.data) == {"b": b"\0", "n": float("inf")}


async def test_an_annotation_gives_the_tool_the_type_back(client: Client) -> None:
    point = Point(1, b"x")
    values = {"when": UTC, "price": ROWS["decimal"].value, "id": ROWS["uuid"].value, "names": {"a"}, "colour": ROWS["enum"].value}
    for pool in (client.pool("usual"), client.pool("usual", payload="msgpack"), client.pool("trusting", payload="pickle")):
        arrived = await pool.call("typed", {**values, "point": point, "data": b"d"}, timeout=10)
        assert arrived == ["datetime", "Decimal", "UUID", "set", "Colour", "Point", "bytes"]


@pytest.mark.parametrize("name", MARKED)
async def test_what_cant_be_carried_is_a_marker_and_a_warning_at_the_callers_line(client: Client, name: str) -> None:
    pool = client.pool("usual")
    with pytest.warns(PayloadWarning, match="can't be carried") as caught:
        assert await pool.call("make", {"name": name}, timeout=10) == MARKED[name].back
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(PayloadWarning, match="can't be carried") as caught:
        assert await pool.call("echo", {"value": MARKED[name].value}, timeout=10) == MARKED[name].back
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(PayloadWarning, match="can't be carried"):
        assert [chunk async for chunk in pool.stream("make_each", {"names": [name]}, timeout=10)] == [MARKED[name].back]


def test_without_await_the_warning_is_at_the_callers_line_too(client: Client) -> None:
    with snakepit.sync.Client(client.server) as blocking:
        pool = blocking.pool("usual")
        with pytest.warns(PayloadWarning, match="can't be carried") as result:
            pool.call("make", {"name": "lock"}, timeout=10)
        with pytest.warns(PayloadWarning, match="can't be carried") as argument:
            pool.call("echo", {"value": object()}, timeout=10)
        with pytest.warns(PayloadWarning, match="can't be carried") as chunk:
            list(pool.stream("make_each", {"names": ["lock"]}, timeout=10))
    assert {warning.filename for warning in [*result, *argument, *chunk]} == {__file__}


async def test_plain_grpc_finds_the_warnings_in_the_response(stub: router_pb2_grpc.RouterServiceStub) -> None:
    expected = [f"$.odd[0] is a {LOCK}, which can't be carried: a marker stands in its place; {REMEDY}"]
    assert list((await execute(stub, "make", json={"name": "lock"})).warnings) == expected
    assert list((await execute(stub, "make", payload=common_pb2.Payload(data=b'{"name":"lock"}'))).warnings) == expected
    request = router_pb2.ExecuteStreamRequest(pool="usual", tool="make_each", json={"names": ["text", "lock"]})
    chunks = [list(chunk.warnings) async for chunk in stub.ExecuteStream(request, timeout=10)]
    assert chunks[:2] == [[], expected]


async def test_pickle_carries_everything_where_all_three_agree(client: Client) -> None:
    pool = client.pool("trusting", payload="pickle")
    value = {"set": {1, 2}, "complex": 1j, "when": UTC, (1, 2): frozenset("a")}
    assert await pool.call("echo", {"value": value}, timeout=10) == value
    assert await pool.call("kind", {"value": 1j}, timeout=10) == "complex"
    assert await pool.call("echo", timeout=10) is None
    assert [chunk async for chunk in pool.stream("make_each", {"names": ["decimal", "set"]}, timeout=10)] == [ROWS["decimal"].value, {3}]
    with pytest.warns(PayloadWarning, match=LOCK):
        assert await pool.call("make", {"name": "lock"}, timeout=10) == MARKED["lock"].back


async def test_pickle_is_refused_by_a_pool_that_does_not_say_so(client: Client) -> None:
    with pytest.raises(InvalidArguments, match="pickle") as caught:
        await client.pool("usual", payload="pickle").call("echo", {"value": 1}, timeout=10)
    assert caught.value.started is snakepit.Started.NO


async def test_a_caller_that_did_not_ask_for_pickle_never_unpickles(client: Client, stub: router_pb2_grpc.RouterServiceStub) -> None:
    pickled = common_pb2.Payload(content_type=PICKLE, data=b"")
    with pytest.raises(InvalidArguments, match="pickle"):
        decode(Payload(b"\x80\x04N.", PICKLE))
    with pytest.raises(InvalidArguments, match=PICKLE):
        await rpc(stub.Execute(router_pb2.ExecuteRequest(pool="trusting", tool="echo", payload=pickled), timeout=10))


def test_an_unknown_encoding_is_refused_with_the_known_ones(client: Client) -> None:
    with pytest.raises(InvalidArguments, match="json, msgpack, pickle"):
        client.pool("usual", payload="yaml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tool", "sent", "sentence"),
    [
        ("echo", common_pb2.Payload(data=b'{"value":' + b"[" * 5000 + b"]" * 5000 + b"}"), "nested too deeply"),
        ("echo", common_pb2.Payload(data=b"\x91" * 5000 + b"\xc0", content_type=MSGPACK), "nested too deeply"),
        ("echo", common_pb2.Payload(data=b"{"), "not application/json"),
        ("echo", common_pb2.Payload(data=b'{"value":"\\ud800"}'), r"they have \\ud800, half of a surrogate pair"),
        ("echo", common_pb2.Payload(data=b'{"value":"\xed\xa0\x80"}'), "text in them is not UTF-8"),
        ("pick", common_pb2.Payload(data=b'{"value":{"x":1}}'), "LookupError.*no such x"),
    ],
    ids=["deep", "deep msgpack", "cut off", "lone surrogate", "not UTF-8", "the author's own check"],
)
async def test_arguments_that_cant_be_read_are_refused_and_the_worker_lives(
    client: Client, stub: router_pb2_grpc.RouterServiceStub, tool: str, sent: common_pb2.Payload, sentence: str
) -> None:
    before = await client.pool("usual").call("process", timeout=10)
    with pytest.raises(InvalidArguments, match=sentence):
        await execute(stub, tool, payload=sent)
    assert await client.pool("usual").call("process", timeout=10) == before


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_half_of_a_surrogate_pair_is_refused_before_it_is_sent_by_the_name_of_its_argument(client: Client, encoding: str) -> None:
    sentence = r"argument 'value' has '\\udcff', half of a surrogate pair, .*: replace it, or send bytes"
    with pytest.raises(InvalidArguments, match=sentence) as caught:
        await client.pool("usual", payload=encoding).call("echo", {"value": ["name\udcff"]}, timeout=10)  # type: ignore[arg-type]
    assert caught.value.started is snakepit.Started.NO


async def test_half_of_a_surrogate_pair_in_what_goes_with_a_call_is_refused_as_well(client: Client) -> None:
    pool = client.pool("usual")
    for field, given in {"metadata": {"k": "\udcff"}, "idempotency_key": "\udcff"}.items():
        with pytest.raises(InvalidArguments, match=f"{field}.* half of a surrogate pair"):
            await pool.call("echo", {"value": 1}, timeout=10, **{field: given})  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="tool name"):
        await pool.call("\udcff", timeout=10)
    with pytest.raises(InvalidArguments, match="metadata 'k' has"):
        await pool.session(metadata={"k": "\udcff"}).create()
    async with pool.session(delete=True) as session:
        with pytest.raises(InvalidArguments, match="state key has"):
            await session.state.get("\udcff")


async def test_a_tool_that_fails_over_a_file_name_that_is_not_utf8_is_a_tool_error_and_its_worker_lives(client: Client) -> None:
    """Python gives such names with halves of surrogate pairs, and messages hold the names."""
    pool = client.pool("usual")
    before, heard = await pool.call("process", timeout=10), list[str]()
    with pytest.raises(snakepit.ToolError, match=r"no file x\\udcff") as caught:
        await pool.call("fail_over_a_file", timeout=10, on_progress=lambda fraction, message: heard.append(message))
    assert heard == [r"x\udcff"]
    assert r"no file x\udcff" in caught.value.traceback
    assert await pool.call("process", timeout=10) == before
