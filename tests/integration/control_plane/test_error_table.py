"""Every row of the table in snakepit.errors, produced by a real control plane and seen from three clients: the SDK, plain grpcio, grpcurl.

The parameters come from the table: a new row without a producer in support/failures.py fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from snakepit import Client, SnakepitError, ToolError
from snakepit.errors import BY_REASON, DOMAIN, Started
from snakepit.v1 import link_pb2, link_pb2_grpc
from support.dev_server import Dev, ready_dev
from support.failures import LINK, PRODUCERS, Failing, pools
from support.go_tools import BUILD_SECONDS, go_tool

ROWS = [*BY_REASON, ToolError.reason]
SECONDS = 20.0
EXITS = 64
"""grpcurl's exit status is this and the code of the status."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with ready_dev(*pools(tmp_path_factory.mktemp("pools"))) as program:
        yield program


@dataclass
class Seen:
    """A failure as one client saw it."""

    code: int | None
    """None: in a frame of a link, where the reason alone stands for the row."""
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None


@contextlib.asynccontextmanager
async def produced(reason: str, stage: Dev) -> AsyncIterator[Failing]:
    assert reason in PRODUCERS, f"{reason} is in the table and support/failures.py can't produce it"
    async with asyncio.timeout(2 * SECONDS), PRODUCERS[reason](stage) as failing:
        yield failing


# ---- the SDK


async def by_sdk(failing: Failing) -> SnakepitError:
    patience = 1.0 if failing.made_by_client else SECONDS
    async with Client(failing.address, connect_timeout=patience) as client:
        with pytest.raises(SnakepitError) as caught:
            await failing.sdk(client)
        return caught.value


@pytest.mark.parametrize("reason", ROWS)
async def test_the_sdk_raises_the_rows_own_class(stage: Dev, reason: str) -> None:
    async with produced(reason, stage) as failing:
        error = await by_sdk(failing)
    assert type(error) is BY_REASON.get(reason, ToolError)
    assert error.reason == reason
    expected = failing.started or type(error).default_started
    assert error.started is expected if expected is not Started.UNKNOWN else error.started is not Started.UNKNOWN
    assert str(error)


# ---- the column "started" of docs/errors.md


PAGE = Path(__file__).resolve().parents[3] / "docs/errors.md"
NESTED = {
    "INVALID_ARGUMENTS",
    "POOL_NOT_FOUND",
    "TOOL_NOT_FOUND",
    "POOL_SATURATED",
    "QUEUE_TIMEOUT",
    "WORKER_LOST",
    "DEADLOCK",
    "CALL_TOO_DEEP",
}
"""Those that a tool meets here, in a call that it makes. With all others a worker does the same: tests/integration/worker/test_calls.py."""


def column(reason: str) -> set[str]:
    (row,) = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith(f"| `{reason}` | ")]
    return {"no", "maybe", "yes"} if row[1] == "known" else set(row[1].split(", or "))


@pytest.mark.parametrize("reason", ROWS)
async def test_the_page_says_whether_the_tool_may_have_started(stage: Dev, reason: str) -> None:
    async with produced(reason, stage) as failing:
        seen = {(await by_sdk(failing)).started.name.lower()}
        if reason in NESTED:
            request = failing.request
            within = {"name": request["tool"], "arguments": request["json"], "pool": request["pool"]}
            async with Client(failing.address) as client:
                with pytest.raises(SnakepitError) as caught:
                    await client.pool("deep").call("ask", within)
            assert (caught.value.reason, caught.value.started) == (reason, Started.YES), "the tool that asked has run"
            seen.add("yes")
    assert seen <= column(reason)
    if reason in NESTED:
        assert "yes" in column(reason)


async def test_arguments_that_are_too_large_never_started_and_a_result_that_is_did(stage: Dev) -> None:
    async with produced("PAYLOAD_TOO_LARGE", stage) as failing:
        assert (await by_sdk(failing)).started is Started.NO
    request = {"pool": "default/usual", "tool": "large", "json": {"size": 5_000_000}}
    seen = await by_grpcio(Failing(stage.server, request, failing.sdk))
    assert (seen.reason, seen.metadata["started"]) == ("PAYLOAD_TOO_LARGE", "YES")
    assert column("PAYLOAD_TOO_LARGE") == {"no", "yes"}


# ---- plain grpcio, with nothing of ours but the contract


async def by_grpcio(failing: Failing) -> Seen | Any:
    """The failure, or the response."""
    async with grpc.aio.insecure_channel(failing.address) as channel:
        if not failing.request:
            return await linked(channel, failing)
        if not failing.one_connection:
            return await plain(channel, failing, failing.request)
        held = [asyncio.create_task(plain(channel, failing, failing.one_connection)) for _ in range(2)]
        try:
            look = Failing(failing.address, {"pool": failing.request["pool"]}, failing.sdk, "PoolService/GetPool")
            while (await plain(channel, look, look.request)).pool.queue_depth < 1:
                await asyncio.sleep(0.01)
            return await plain(channel, failing, failing.request)
        finally:
            for each in held:
                each.cancel()
            await asyncio.gather(*held, return_exceptions=True)


async def plain(channel: grpc.aio.Channel, failing: Failing, request: dict[str, Any]) -> Any:
    service, _, name = failing.method.partition("/")
    method = descriptor_pool.Default().FindServiceByName(f"snakepit.v1.{service}").methods_by_name[name]
    arguments = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
    kind = channel.stream_stream if method.client_streaming else channel.unary_unary
    rpc: Any = kind(
        f"/snakepit.v1.{failing.method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        if not method.client_streaming:
            return await rpc(arguments, metadata=failing.headers or None)
        stream = rpc(metadata=failing.headers or None)
        await stream.write(arguments)
        return await stream.read()
    except grpc.aio.AioRpcError as error:
        return as_seen(error)


async def linked(channel: grpc.aio.Channel, failing: Failing) -> Seen:
    """The error that comes in a frame."""
    service = link_pb2_grpc.LinkServiceStub(channel).Link()
    await service.write(json_format.ParseDict(failing.by_link, link_pb2.LinkRequest()))
    await service.write(link_pb2.LinkRequest())  # It takes no lane.
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await service.read()
            for frame in json_format.MessageToDict(answer, preserving_proto_field_name=True).get("frames", ()):
                if seen := in_a_frame(frame):
                    return seen


def in_a_frame(frame: dict[str, Any]) -> Seen | None:
    """`frame` as JSON; None: it says of no failure."""
    error = next((kind["error"] for kind in frame.values() if "error" in kind), None)
    if error is None:
        return None
    started = error.get("started", "STARTED_UNSPECIFIED").removeprefix("STARTED_")
    metadata = {**error.get("details", {}), "started": started}
    return Seen(None, error["message"], error["reason"], DOMAIN, metadata, error.get("retry_after_seconds"))


def as_seen(error: grpc.aio.AioRpcError) -> Seen:
    trailers = dict(error.trailing_metadata() or ())
    seen = Seen(error.code().value[0], error.details() or "")
    if "grpc-status-details-bin" not in trailers:
        return seen
    status = RpcStatus.FromString(trailers["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert (status.code, status.message) == (seen.code, seen.message)
    for detail in status.details:
        info, retry = ErrorInfo(), RetryInfo()
        if detail.Unpack(info):
            seen.reason, seen.domain, seen.metadata = info.reason, info.domain, dict(info.metadata)
        elif detail.Unpack(retry):
            seen.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return seen


@pytest.mark.parametrize("reason", ROWS)
async def test_plain_grpcio_gets_the_status_and_its_details(stage: Dev, reason: str) -> None:
    async with produced(reason, stage) as failing:
        seen = await by_grpcio(failing)
        error = await by_sdk(failing)
    if reason == ToolError.reason:
        assert (seen.tool_error.type, seen.tool_error.message) == ("LookupError", "gone fishing")
        assert "raise LookupError" in seen.tool_error.traceback
        return
    assert_is_the_row(seen, failing, error)


def assert_is_the_row(seen: Seen, failing: Failing, error: SnakepitError) -> None:
    assert isinstance(seen, Seen), f"no failure: {seen}"
    assert seen.code in (int(error.status), None)
    if failing.made_by_client:
        assert seen.reason == ""
        return
    assert (seen.reason, seen.domain) == (error.reason, DOMAIN)
    assert seen.message
    known = (error.started.name,) if type(error).default_started is not Started.UNKNOWN else ("NO", "MAYBE", "YES")
    assert seen.metadata["started"] in known, "of two calls each carries its own answer where the row has none"
    assert seen.metadata.keys() - {"started"} == error.details.keys()
    assert (seen.retry_seconds is None) == (error.retry_after is None)


@pytest.mark.parametrize("reason", ["POOL_SATURATED", "QUEUE_TIMEOUT"])
async def test_where_waiting_helps_retry_info_says_how_long(stage: Dev, reason: str) -> None:
    async with produced(reason, stage) as failing:
        seen = await by_grpcio(failing)
    assert seen.retry_seconds > 0


# ---- grpcurl


@pytest.fixture(scope="module")
def grpcurl() -> Path:
    return go_tool("grpcurl")


async def run(program: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        program, "-plaintext", "-connect-timeout", "15", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def by_grpcurl(program: Path, failing: Failing) -> tuple[Seen | None, str]:
    """The failure, None: there was none; and what was printed."""
    if failing.by_link:
        return await linked_by_grpcurl(program, failing)
    headers = (word for name, value in failing.headers for word in ("-H", f"{name}: {value}"))
    words = (*headers, "-format-error", "-d", json.dumps(failing.request), failing.address, f"snakepit.v1.{failing.method}")
    code, out, err = await run(program, *words)
    if code == 0:
        return None, out
    if failing.made_by_client:
        return Seen(grpc.StatusCode.UNAVAILABLE.value[0], err), err
    status = json.loads(err)
    assert code == EXITS + status["code"]
    seen = Seen(status["code"], status["message"])
    for detail in status["details"]:
        if detail["@type"].endswith("ErrorInfo"):
            seen.reason, seen.domain, seen.metadata = detail["reason"], detail["domain"], detail["metadata"]
        elif detail["@type"].endswith("RetryInfo"):
            seen.retry_seconds = float(detail["retry_delay"].removesuffix("s"))
    return seen, err


async def linked_by_grpcurl(program: Path, failing: Failing) -> tuple[Seen | None, str]:
    """On a link of grpcurl's own, which stays open until the error is there, as its end would end the calls."""
    words = ("-plaintext", "-connect-timeout", "15", "-d", "@", failing.address, f"snakepit.v1.{LINK}")
    process = await asyncio.create_subprocess_exec(program, *words, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(failing.by_link).encode() + b"{}")
    printed = ""
    try:
        async with asyncio.timeout(SECONDS):
            while '"error"' not in printed or not (seen := in_messages(printed)):
                printed += (await process.stdout.read(1 << 16)).decode()
        return seen, printed
    finally:
        process.stdin.close()
        await process.wait()


def in_messages(printed: str) -> Seen | None:
    """Of the messages that are whole by now."""
    decoder, at = json.JSONDecoder(), 0
    with contextlib.suppress(json.JSONDecodeError):
        while True:
            message, end = decoder.raw_decode(printed[at:].lstrip())
            at += len(printed[at:]) - len(printed[at:].lstrip()) + end
            for frame in message.get("frames", ()):
                if seen := in_a_frame({_snake(kind): value for kind, value in frame.items()}):
                    return seen
    return None


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)


@pytest.mark.timeout(BUILD_SECONDS + 60)
@pytest.mark.parametrize("reason", ROWS)
async def test_grpcurl_prints_the_same(stage: Dev, grpcurl: Path, reason: str) -> None:
    async with produced(reason, stage) as failing:
        seen, printed = await by_grpcurl(grpcurl, failing)
        error = await by_sdk(failing)
    if reason == ToolError.reason:
        assert json.loads(printed)["tool_error"]["type"] == "LookupError"
    elif failing.made_by_client:
        assert printed.startswith("Failed to dial target host")
    else:
        assert seen is not None
        assert_is_the_row(seen, failing, error)


@pytest.mark.timeout(BUILD_SECONDS + 60)
async def test_grpcurl_finds_the_services_by_reflection_and_asks_for_health(stage: Dev, grpcurl: Path) -> None:
    _, services, _ = await run(grpcurl, stage.server, "list")
    expected = {f"snakepit.v1.{name}Service" for name in ("Router", "Session", "Tool", "Pool", "Link", "Fleet")}
    assert expected | {"grpc.health.v1.Health"} <= set(services.split())
    _, described, _ = await run(grpcurl, stage.server, "describe", "snakepit.v1.RouterService")
    assert "rpc Execute ( .snakepit.v1.ExecuteRequest ) returns ( .snakepit.v1.ExecuteResponse );" in described
    for service in ("", "snakepit.v1.RouterService", "snakepit.v1.LinkService"):
        request = json.dumps({"service": service})
        assert '"SERVING"' in (await run(grpcurl, "-d", request, stage.server, "grpc.health.v1.Health/Check"))[1]


@pytest.mark.timeout(BUILD_SECONDS + 60)
async def test_grpcurl_streams_as_the_page_for_callers_says(stage: Dev, grpcurl: Path) -> None:
    request = '{"pool":"default/usual","tool":"count","json":{"to":3}}'
    code, out, _ = await run(grpcurl, "-d", request, stage.server, "snakepit.v1.RouterService/ExecuteStream")
    assert code == 0
    assert re.findall(r'"json": (\d)', out) == ["0", "1", "2"]
