"""How a gateway ends, so that nobody loses a request by it; and its TLS, whose certificate changes under open connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from snakepit._wire import shown
from snakepit_gateway import server as server_module
from snakepit_gateway.server import Server
from snakepit_gateway.settings import Settings
from support.authority import Authority
from support.control_plane import replica
from support.eventually import eventually
from support.gateway import served
from support.simulated_agent import POOL, simulated_agent

CALLERS = 8
LARGE = 32 << 20
"""More than the sockets of both ends hold."""


async def no_calls() -> None:
    """None of these requests is a call."""


class Serving:
    """A server, and what waits in it."""

    def __init__(self, **settings: Any) -> None:
        self.asked, self.go_on, self.leaving = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def quick(_: Request) -> Response:
            return PlainTextResponse("ok")

        async def slow(_: Request) -> Response:
            self.asked.set()
            await self.go_on.wait()
            return PlainTextResponse("done")

        async def large(_: Request) -> Response:
            return Response(b"x" * LARGE, headers={"Connection": "close"})

        async def told(request: Request) -> Response:
            body = await request.body()
            return PlainTextResponse(f"{body.decode()} {[name.decode() for name, _ in request.scope['headers']]}")

        routes = [Route("/", quick), Route("/slow", slow), Route("/large", large), Route("/told", told, methods=["POST"])]
        app = Starlette(routes=routes)
        self.server = Server(app, Settings(listen="127.0.0.1:0", **settings), self.leaving, no_calls)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def term(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Serving]:
    made = Serving(**settings)
    running = asyncio.create_task(made.server.serve())
    await eventually(lambda: made.server.started, "it serves")
    try:
        yield made
    finally:
        made.go_on.set()
        made.server.should_exit = True
        await running


async def test_after_term_it_serves_on_hangs_up_after_each_answer_and_finishes_what_runs() -> None:
    async with serving(linger_seconds=3600) as made, httpx.AsyncClient(base_url=f"http://127.0.0.1:{made.port}") as http:
        assert "connection" not in (await http.get("/")).headers
        slow = asyncio.create_task(http.get("/slow"))
        await made.asked.wait()
        made.term()
        await made.leaving.wait()

        async def hangs_up() -> bool:
            return (await http.get("/")).headers.get("connection") == "close"

        await eventually(hangs_up, "it serves on, and says that it hangs up")
        made.term()

        async def refused() -> bool:
            with contextlib.suppress(httpx.TransportError):
                await http.get("/")
                return False
            return True

        await eventually(refused, "it accepts nobody any more")
        made.go_on.set()
        assert (await slow).text == "done"


async def test_it_ends_by_itself_when_its_time_is_over() -> None:
    async with serving(linger_seconds=1) as made:
        made.term()
        await made.leaving.wait()
        await eventually(lambda: made.server.should_exit, "it ends")


async def test_a_call_that_runs_on_when_its_time_is_over_is_told_that_it_may_have_run() -> None:
    async with replica() as control, simulated_agent(control.address) as agent, httpx.AsyncClient(timeout=30) as http:
        async with served(control.address) as url:
            asking = asyncio.create_task(http.post(f"{url}/v1/pools/{POOL}/tools/hang", json={}))
            await eventually(lambda: agent.running, "it runs")
        answer = await asking
    assert (answer.status_code, answer.json()["reason"], answer.json()["started"]) == (502, "REPLICA_LOST", "maybe")


async def test_no_request_is_lost_when_a_gateway_goes_and_another_one_is_there() -> None:
    """Callers keep their connections until they are hung up on: who isn't ready gets no new ones."""
    answers: Counter[str] = Counter()
    async with serving(linger_seconds=3600) as one, serving() as other:
        first, second = f"http://127.0.0.1:{one.port}/", f"http://127.0.0.1:{other.port}/"
        enough, gone = asyncio.Event(), itertools.count(1)

        async def calling() -> None:
            url = first
            async with httpx.AsyncClient() as http:
                while not enough.is_set():
                    try:
                        answer = await http.get(url)
                    except httpx.HTTPError as error:
                        answers[repr(error)] += 1
                        continue
                    answers[url + answer.text] += 1
                    if answer.headers.get("connection") == "close":
                        url = second
                        if next(gone) == CALLERS:
                            one.term()

        callers = [asyncio.create_task(calling()) for _ in range(CALLERS)]
        await eventually(lambda: answers[f"{first}ok"] > 100, "they call the first one")
        one.term()
        await eventually(lambda: answers[f"{second}ok"] > 100, "they call the second one")
        enough.set()
        await asyncio.gather(*callers)
    assert answers.keys() == {f"{first}ok", f"{second}ok"}


async def test_who_is_hung_up_on_and_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told waits to be sent, and its connection would stay for as long as it likes."""
    monkeypatch.setattr(server_module, "UNREAD_SECONDS", 0.3)
    async with serving() as made:
        _, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: made.server.server_state.connections, "it is there")
        await eventually(lambda: not made.server.server_state.connections, "it is cut off")
        writer.close()


async def test_who_is_hung_up_on_and_reads_slowly_gets_all() -> None:
    async with serving() as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        (connection,) = made.server.server_state.connections
        before = connection.transport.get_write_buffer_size()
        await reader.readexactly(LARGE // 2)
        await eventually(lambda: connection.transport.get_write_buffer_size() < before, "more is on its way")
        connection._see_off(before)  # type: ignore[union-attr]  # noqa: SLF001  # as when UNREAD_SECONDS are over
        assert len(await reader.read(-1)) == LARGE - LARGE // 2
        writer.close()


CHUNKED = b"POST /told HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;of=two\r\nhi\r\n0\r\n"


async def test_what_comes_behind_a_body_is_passed_over() -> None:
    async with serving() as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        for _ in range(2):
            writer.write(CHUNKED + b"Digest: none\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            answer = b"hi ['host', 'transfer-encoding']"
            assert await reader.readexactly(len(answer)) == answer
        writer.close()


@pytest.mark.parametrize(
    "begun",
    [CHUNKED, CHUNKED.replace(b"0\r\n", b"0\r\nDigest: "), CHUNKED.replace(b"0\r\n", b"1;")],
    ids=["trailers", "one trailer", "an extension of a chunk"],
)
async def test_what_comes_beside_a_body_without_end_is_cut_off(begun: bytes) -> None:
    async with serving() as made:
        _, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(begun)
        line = b"a: b\r\n" if begun == CHUNKED else b"a" * 8

        async def go_on() -> None:
            while True:
                writer.write(line * 10_000)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(go_on(), 20)
        await eventually(lambda: not made.server.server_state.connections, "it is hung up on")
        writer.close()


@pytest.mark.parametrize(("count", "status"), [(1000, 200), (1001, 400)])
async def test_a_request_has_so_many_headers(count: int, status: int) -> None:
    async with serving() as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * count + b"\r\n")
        assert (await reader.readline()).split()[1] == str(status).encode()
        writer.close()


async def test_a_body_has_no_such_bound() -> None:
    async with serving() as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        size = 2 * server_module.MOST_HEAD_BYTES
        writer.write(CHUNKED.replace(b"0\r\n", b"1\r\na\r\n" * size + b"0\r\n\r\n"))
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readexactly(size))[2:] == b"a" * (size - 2)
        writer.close()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setattr(shown, "LOOK_SECONDS", 0.0)
    return Authority(tmp_path / "authority")


def files(authority: Authority, subject: str) -> dict[str, str]:
    made = authority.files(subject=subject)
    return {"tls_cert_file": str(made.certificate), "tls_key_file": str(made.key)}


async def subject(port: int, authority: Authority, name: str) -> str:
    """Whose certificate is shown to who asks for that name; for an address, nobody says a name."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    found: Any = writer.get_extra_info("peercert")
    writer.close()
    return str(dict(pair for names in found["subject"] for pair in names)["commonName"])


async def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on(authority: Authority, caplog: Any) -> None:
    async with serving(**files(authority, "first")) as made:
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{made.port}", verify=context) as http:
            assert (await http.get("/")).text == "ok"
            names = ("127.0.0.1", "localhost")
            assert [await subject(made.port, authority, name) for name in names] == ["first"] * 2
            connections = {*made.server.server_state.connections}
            files(authority, "second")
            assert [await subject(made.port, authority, name) for name in names] == ["second"] * 2
            assert (await http.get("/")).text == "ok"
            assert connections & made.server.server_state.connections, "it is the same connection"
            authority.files(subject="third").key.unlink()
            assert await subject(made.port, authority, "localhost") == "second"
            assert "the certificate stays the one that it was" in caplog.text


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_of_tls_are_refused(authority: Authority) -> None:
    async with serving(**files(authority, "server")) as made:
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(OSError, match=r"(?i)version|protocol|alert"):
            await asyncio.open_connection("127.0.0.1", made.port, ssl=context)


def test_files_that_can_not_be_used_are_said_at_the_start(authority: Authority, tmp_path: Path) -> None:
    good = authority.files()
    for wrong, why in (
        (replace(good, key=tmp_path / "missing"), "missing, which TLS needs, can't be read: No such file"),
        (replace(good, key=authority.files("other").key), "or key and certificate are no pair"),
    ):
        with pytest.raises(ValueError, match=why):
            Server(None, Settings(tls_cert_file=str(wrong.certificate), tls_key_file=str(wrong.key)), asyncio.Event(), no_calls)
