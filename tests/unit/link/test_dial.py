"""When a replica is dialled again, what counts as its address, and a keepalive that its server puts up with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from snakepit import Client
from snakepit._wire.channels import client_options, server_options
from snakepit._wire.dial import BACKOFF_SECONDS, Dialer, next_attempt
from snakepit._wire.status import TRAILER, Metadata
from snakepit._wire.targets import resolve
from snakepit._wire.trust import Trust
from snakepit.v1 import link_pb2, link_pb2_grpc
from support.authority import Authority
from support.eventually import eventually

_, LONGEST = BACKOFF_SECONDS


@given(st.integers(0, 1000), st.floats(0, 1e6))
def test_only_a_link_that_lasted_lets_the_pauses_begin_anew(attempt: int, open_seconds: float) -> None:
    assert next_attempt(attempt, open_seconds) == (0 if open_seconds >= LONGEST else attempt + 1)


async def test_a_name_is_all_of_its_addresses_of_one_family_and_several_names_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"replicas": [(2, "10.0.0.1"), (2, "10.0.0.2"), (10, "fd00::1")], "six": [(10, "fd00::2")], "gone": []}

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if not known[host]:
            raise OSError(f"{host} is not known")
        return [(family, 1, 6, "", (address, port)) for family, address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert await resolve("dns:///replicas:7800") == {"10.0.0.1:7800": "replicas", "10.0.0.2:7800": "replicas"}
    assert await resolve("replicas:7800, six:1") == {"10.0.0.1:7800": "replicas", "10.0.0.2:7800": "replicas", "[fd00::2]:1": "six"}
    assert await resolve("gone:7800") == {}


def test_a_program_that_ends_waits_for_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = threading.Event(), threading.Event()

    def is_silent(*_: object, **__: object) -> None:
        asked.set()
        answers.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")

    async def program() -> None:
        async with Client("replicas:7800"):
            await eventually(asked.is_set, "it is asked")

    monkeypatch.setattr(socket, "getaddrinfo", is_silent)
    running = threading.Thread(target=lambda: asyncio.run(program()))
    running.start()
    running.join(20)
    ended = not running.is_alive()
    answers.set()
    assert ended


# ---- dials that come to nothing


class Refuses(link_pb2_grpc.LinkServiceServicer):
    """A server that is none of ours. `trailer`: what it says of its errors."""

    def __init__(self, trailer: bytes = b"") -> None:
        self._trailer = ((TRAILER, trailer),) if trailer else ()
        self.server = grpc.aio.server()
        link_pb2_grpc.add_LinkServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    async def Link(self, _: object, context: Any) -> None:  # noqa: N802
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not here", self._trailer)


@contextlib.asynccontextmanager
async def dialling(refuses: Refuses, dialled: Callable[[], None], trust: Trust | None = None) -> AsyncIterator[Dialer]:
    """`dialled` is called in the middle of each dial."""

    def metadata() -> Metadata:
        dialled()
        return ()

    def nothing(*_: object) -> None: ...

    hello = link_pb2.Hello(role=link_pb2.ROLE_CLIENT)
    dialer = Dialer(refuses.address, lambda _: hello, nothing, nothing, nothing, metadata=metadata, trust=trust)
    await refuses.server.start()
    dialer.start()
    try:
        yield dialer
    finally:
        await dialer.stop()
        await refuses.server.stop(0)


def of_another() -> bytes:
    """An error of whoever has the same fields, and other words in them."""
    status = Status(message="not here")
    status.details.add().Pack(ErrorInfo(metadata={"started": "PERHAPS"}))
    return status.SerializeToString()


@pytest.mark.parametrize("trailer", [b"\xff", of_another()], ids=["junk", "of another"])
async def test_a_server_that_says_what_cant_be_read_is_dialled_again(trailer: bytes) -> None:
    dials: list[None] = []
    async with dialling(Refuses(trailer), lambda: dials.append(None)) as dialer:
        await eventually(lambda: len(dials) >= 3, "it is dialled again")
        # An end that comes very soon may be an internal error of gRPC's core instead, of that dial alone.
        await eventually(lambda: "not here" in str(dialer.last_error), "it says what the server said")


async def test_a_dial_that_something_else_has_cancelled_is_followed_by_another() -> None:
    dials: list[None] = []

    def cancelled() -> None:
        dials.append(None)
        raise asyncio.CancelledError

    async with dialling(Refuses(), cancelled):
        await eventually(lambda: len(dials) >= 3, "it is dialled again")


async def test_a_ca_file_that_is_away_while_a_dial_fails_ends_no_dialling(tmp_path: Path) -> None:
    dials: list[None] = []
    ca = Authority(tmp_path).ca_file
    pem = ca.read_bytes()

    def replaced() -> None:
        dials.append(None)
        ca.unlink()

    async with dialling(Refuses(), replaced, Trust(ca)) as dialer:
        await eventually(lambda: dialer.last_error, "the dial has failed")
        assert "can't be read" in str(dialer.last_error)
        ca.write_bytes(pem)
        await eventually(lambda: len(dials) >= 2, "it is dialled again")


# ---- keepalive

SCALE = 20
"""The same options with intervals a twentieth as long: gRPC sends no ping within a second of the last."""


def scaled(options: list[tuple[str, Any]], **other: object) -> list[tuple[str, Any]]:
    shorter = {name: value // SCALE for name, value in options if name in (EVERY, LEAST)}
    return list((dict(options) | shorter | {f"grpc.http2.{name}": value for name, value in other.items()}).items())


EVERY, LEAST = "grpc.keepalive_time_ms", "grpc.http2.min_ping_interval_without_data_ms"


def test_the_control_plane_takes_pings_twice_as_often_as_the_sdk_sends_them() -> None:
    client, server = dict(client_options()), dict(server_options())
    assert client[EVERY] >= 2 * server[LEAST]
    assert client["grpc.keepalive_permit_without_calls"] == server["grpc.keepalive_permit_without_calls"] == 1
    assert client["grpc.keepalive_timeout_ms"] < client[EVERY]


class Silence:
    """A stream that is opened and on which nothing is said, as a link's is whose frames take the lane."""

    def __init__(self, options: list[tuple[str, Any]]) -> None:
        self.opened = asyncio.Event()
        self.server = grpc.aio.server(options=options)
        keep = {"Keep": grpc.stream_stream_rpc_method_handler(self._serve)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Silence", keep),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _serve(self, _: Any, context: Any) -> None:
        await context.read()
        self.opened.set()
        await asyncio.Event().wait()

    async def kept(self) -> str:
        """Until the server hangs up; why it did."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=scaled(client_options())) as channel:
            method: Any = channel.stream_stream
            call = method("/test.Silence/Keep")()
            await call.write(b"")
            await call.code()
            return str(await call.details())


async def test_a_silent_link_is_left_alone_while_a_server_with_grpcios_own_interval_hangs_up() -> None:
    """Both count as strictly as grpcio does by default: two pings that come too early are forgiven, the third is not."""
    own = Silence(scaled(server_options(), max_ping_strikes=2))
    strict = Silence(scaled(server_options(), max_ping_strikes=2, min_ping_interval_without_data_ms=300_000))
    await asyncio.gather(own.server.start(), strict.server.start())
    links = [asyncio.create_task(each.kept()) for each in (own, strict)]
    await asyncio.gather(own.opened.wait(), strict.opened.wait())
    assert "Too many pings" in await links[1]
    assert not links[0].done()
    links[0].cancel()
    await asyncio.gather(*links, return_exceptions=True)
    await asyncio.gather(own.server.stop(0), strict.server.stop(0))
