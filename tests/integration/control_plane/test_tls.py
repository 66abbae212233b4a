"""TLS on the wire: certificates are checked by the name that was dialled, are read again as they change, and what is wrong is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

import snakepit
from snakepit._wire import channels
from snakepit._wire import shown as shown_module
from snakepit._wire.trust import Trust
from snakepit.errors import ServerUnavailable
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import lanes
from snakepit_operator.fleet import Fleet
from support import fake_kubectl as fake
from support.authority import Authority
from support.control_plane import Caller, eventually, replica
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "own")


@pytest.fixture
def own_settings(authority: Authority) -> dict[str, Any]:
    return {"tls": authority.files()}


def client(server: Running, ca_file: Path | str, **more: Any) -> snakepit.Client:
    return snakepit.Client(server.address, ca_file=ca_file, connect_timeout=5, **more)


def agent(server: Running, authority: Authority) -> Any:
    return simulated_agent(server.address, trust=Trust(authority.ca_file))


async def refused(client: snakepit.Client) -> str:
    """Why it has no link."""
    async with client:
        with pytest.raises(ServerUnavailable) as caught:
            await client.pool(POOL).call("echo", {"x": 1}, timeout=10)
    assert caught.value.started == "no"
    return caught.value.message


async def test_calls_travel_through_tls_by_links_and_lanes(server: Running, authority: Authority) -> None:
    async with agent(server, authority) as worker, client(server, authority.ca_file) as caller:
        assert await caller.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        assert {link.transport for link in server.links.links} == {"lane"}
        assert worker.replica is not None


async def test_any_languages_client_needs_no_more_than_the_ca(server: Running, authority: Authority) -> None:
    credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes())
    async with agent(server, authority), grpc.aio.secure_channel(server.address, credentials) as channel:
        reply = await Caller(channel).call("echo", {"x": 1})
        assert json_format.MessageToDict(reply.json) == {"x": 1}


async def test_a_replica_is_known_by_the_name_that_was_looked_up_and_not_by_its_address(authority: Authority) -> None:
    async with replica(tls=authority.files(names=["localhost"])) as server:
        port = server.address.rpartition(":")[2]
        async with agent_of("localhost", port, authority), snakepit.Client(f"localhost:{port}", ca_file=authority.ca_file) as caller:
            assert await caller.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        why = await refused(client(server, authority.ca_file))
        assert "is not for '127.0.0.1'" in why
        assert "SNAKEPIT_TLS_SERVER_NAME" in why
        async with agent_of("localhost", port, authority), client(server, authority.ca_file, tls_server_name="localhost") as caller:
            assert await caller.pool(POOL).call("echo", {"x": 2}, timeout=10) == {"x": 2}


def agent_of(host: str, port: str, authority: Authority) -> Any:
    return simulated_agent(f"{host}:{port}", trust=Trust(authority.ca_file))


async def test_each_thing_that_is_wrong_is_one_sentence_that_says_what_to_do(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    async with replica(tls=authority.files()) as server:
        assert "speaks TLS: set SNAKEPIT_CA_FILE" in await refused(client(server, "off"))
        assert f"is of no CA in {other.ca_file}" in await refused(client(server, other.ca_file))
        missing = tmp_path / "missing.crt"
        assert f"{missing}, which TLS needs, can't be read: No such file" in await refused(client(server, missing))
        missing.write_text("no certificate")
        assert f"{missing} is no PEM that TLS can use" in await refused(client(server, missing))
    async with replica(tls=authority.files(ends=-timedelta(days=1))) as server:
        assert "has expired" in await refused(client(server, authority.ca_file))
    async with replica() as server:
        assert f"speaks no TLS, which {authority.ca_file} asks for" in await refused(client(server, authority.ca_file))


async def test_an_agent_says_what_is_wrong_too(server: Running) -> None:
    worker = SimulatedAgent(server.address)
    worker.dial()
    await eventually(lambda: worker.refused is not None, "the dial fails")
    await worker.stop()
    assert "speaks TLS: set SNAKEPIT_CA_FILE" in str(worker.refused)


async def test_a_new_certificate_is_shown_to_new_connections_and_running_links_go_on(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_module, "LOOK_SECONDS", 0.0)
    async with (
        replica(tls=authority.files(subject="first")) as server,
        agent(server, authority),
        client(server, authority.ca_file) as caller,
    ):
        assert await caller.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        before = set(server.links.links)
        ports = [int(server.address.rpartition(":")[2]), server.lanes.port]
        assert {await shown(port, authority) for port in ports} == {"first"}
        authority.files(subject="second")
        assert {await shown(port, authority) for port in ports} == {"second"}
        assert await caller.pool(POOL).call("echo", {"x": 2}, timeout=10) == {"x": 2}
        assert set(server.links.links) == before
        async with client(server, authority.ca_file) as another:
            assert await another.pool(POOL).call("echo", {"x": 3}, timeout=10) == {"x": 3}


async def test_certificates_roll_under_load_with_no_failed_call(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_module, "LOOK_SECONDS", 0.0)
    ca_file, done = authority.ca_file, asyncio.Event()

    async def call_on(caller: snakepit.Client) -> int:
        count = 0
        while not done.is_set():
            assert await caller.pool(POOL).call("echo", {"x": count}, timeout=10) == {"x": count}
            count += 1
        return count

    async with replica(tls=authority.files()) as server, agent(server, authority), client(server, ca_file) as caller:
        calling = [asyncio.create_task(call_on(caller)) for _ in range(4)]
        for number in range(20):
            authority.files(subject=f"number {number}")
            async with client(server, ca_file) as another:
                assert await another.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        done.set()
        assert min(await asyncio.gather(*calling)) > 0
        assert caller.links == 1
        assert await shown(server.lanes.port, authority) == "number 19"


async def test_the_operator_talks_by_tls_too_and_says_why_it_can_not(
    server: Running, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(server, Trust("off")):
        await eventually(lambda: "speaks TLS: set SNAKEPIT_CA_FILE" in caplog.text, "the operator says why it can't talk")
    async with talking(server, Trust(authority.ca_file)) as fleet, asyncio.timeout(10):
        await fleet.heard.wait()


@contextlib.asynccontextmanager
async def talking(server: Running, trust: Trust) -> AsyncIterator[Fleet]:
    fleet = Fleet(server.address, lambda pool, essential: None, trust=trust)
    fleet.set_pools([])
    running = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def shown(port: int, authority: Authority) -> str:
    """Whose certificate a port shows."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: Any = writer.get_extra_info("peercert")
    writer.close()
    return str(dict(pair for names in found["subject"] for pair in names)["commonName"])


async def test_files_that_are_no_pair_change_nothing(authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(shown_module, "LOOK_SECONDS", 0.0)
    files = authority.files(subject="first")
    async with replica(tls=files) as server:
        files.key.write_bytes(authority.files("other").key.read_bytes())
        for port in (int(server.address.rpartition(":")[2]), server.lanes.port):
            assert await shown(port, authority) == "first"
    assert caplog.text.count("the certificate stays the one that it was") == 1


async def test_a_replica_whose_files_can_not_be_used_does_not_start(authority: Authority, tmp_path: Path) -> None:
    files = authority.files()
    for wrong, why in (
        (replace(files, key=tmp_path / "missing"), "missing, which TLS needs, can't be read: No such file"),
        (replace(files, key=authority.files("other").key), "or key and certificate are no pair"),
        (replace(files, client_ca=files.key), "can't be used"),
    ):
        with pytest.raises(ValueError, match=why):
            async with replica(tls=wrong):
                pass


async def test_a_ca_file_that_is_replaced_holds_for_new_links(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(other.ca_file.read_bytes())
    async with replica(tls=authority.files()) as server, agent(server, authority), client(server, ca_file) as caller:
        with pytest.raises(ServerUnavailable):
            await caller.pool(POOL).call("echo", {"x": 1}, timeout=10)
        ca_file.write_bytes(authority.ca_file.read_bytes())
        await eventually(lambda: caller.links == 1, "the new CA is taken")
        assert await caller.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_of_tls_are_refused(server: Running) -> None:
    for port in (int(server.address.rpartition(":")[2]), server.lanes.port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def test_who_connects_and_never_shakes_hands_is_hung_up_on(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "HANDSHAKE_SECONDS", 1)
    monkeypatch.setattr(lanes, "TICKET_SECONDS", 1.0)
    loop = asyncio.get_running_loop()
    async with replica(tls=authority.files()) as server:
        for port in (int(server.address.rpartition(":")[2]), server.lanes.port):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, b"\x16\x03\x01")
                async with asyncio.timeout(10):
                    while await loop.sock_recv(sock, 4096):
                        pass
        assert not server.lanes.unshown


async def test_the_command_line_reaches_a_release_with_tls_through_kubectl(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put_on_path(tmp_path, monkeypatch)
    service = fake.service("snakepit-system", "snakepit", ca="snakepit-ca")
    (tmp_path / "services.json").write_text(json.dumps({"items": [service]}))

    async def pools() -> tuple[int, str]:
        words = ("--kube", "pools", "--output", "json")
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "snakepit.cli", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await command.communicate()
        return command.returncode or 0, said.decode()

    async with replica(tls=authority.files(names=["snakepit.snakepit-system"])) as server:
        (tmp_path / "target").write_text(server.address)
        assert "can't read the ConfigMap snakepit-system/snakepit-ca" in (await pools())[1]
        (tmp_path / "ca.crt").write_bytes(authority.ca_file.read_bytes())
        assert await pools() == (0, "[]\n")
