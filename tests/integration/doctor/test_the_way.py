"""What is wrong between a client and a control plane: each is made, and is said in a sentence with what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from snakepit._wire import dial
from snakepit.cli.doctor.codes import Code
from snakepit_control_plane.policy.rights import CALL, LOOK
from snakepit_control_plane.server import Running
from support import dev_server
from support.authority import Authority
from support.callers import ADA, known_agent, put, token
from support.control_plane import replica
from support.gate import gate
from support.issuer import Issuer
from support.ports import free_port
from support.reviewer import Reviewer
from support.simulated_agent import POOL

from .conftest import Examined

# ---- names and ports


async def test_a_name_without_an_address(examined: Examined) -> None:
    found = await examined("nowhere.invalid:7800")
    assert list(found) == [Code.NAME_UNKNOWN]
    assert "no address is known for the name nowhere.invalid" in found[Code.NAME_UNKNOWN].message
    assert "from elsewhere use --kube" in found[Code.NAME_UNKNOWN].message


async def test_a_port_where_nobody_listens(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    found = await examined(address)
    assert list(found) == [Code.NOTHING_LISTENS]
    assert f"nothing listens at {address}: is `snakepit dev` running" in found[Code.NOTHING_LISTENS].message
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "labelled snakepit.dev/caller=true" in (await examined(address))[Code.NOTHING_LISTENS].message


async def test_a_port_where_whoever_dials_hears_nothing(examined: Examined) -> None:
    """As behind a NetworkPolicy: a listener whose queue of connections is full answers no dial."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = "{}:{}".format(*full.getsockname())
        ahead = [socket.socket() for _ in range(4)]
        try:
            for each in ahead:
                each.setblocking(False)
                each.connect_ex(full.getsockname())
            found = await examined(address)
        finally:
            for each in ahead:
                each.close()
    assert list(found) == [Code.NO_ANSWER]
    assert f"{address} doesn't answer, and refuses nothing: a firewall, a NetworkPolicy" in found[Code.NO_ANSWER].message


async def test_an_address_without_a_way(examined: Examined) -> None:
    found = await examined("255.255.255.255:7800")
    assert list(found) == [Code.NO_WAY]
    assert "Network is unreachable" in found[Code.NO_WAY].message


async def test_the_port_of_metrics_of_probes_and_of_lanes_is_not_that_of_calls(examined: Examined) -> None:
    async with replica(health="127.0.0.1:0") as server:
        metrics, probes = await examined(server.metrics_address), await examined(server.health_address)
        lanes = await examined(f"127.0.0.1:{server.lanes.port}")
    assert list(metrics) == list(probes) == list(lanes) == [Code.WRONG_PORT]
    assert "an HTTP server answers there" in metrics[Code.WRONG_PORT].message
    assert "a gRPC server answers there that knows no calls" in probes[Code.WRONG_PORT].message
    assert "calls have port 7800" in lanes[Code.WRONG_PORT].message


async def test_a_control_plane_that_takes_connections_and_says_nothing(
    examined: Examined, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "WELCOME_SECONDS", 0.5)
    async with gate(int(server.address.rpartition(":")[2])) as stuck:
        stuck.swallow()
        found = await examined(f"127.0.0.1:{stuck.port}")
    assert list(found) == [Code.NOT_ANSWERING]
    assert "takes connections and says nothing" in found[Code.NOT_ANSWERING].message


# ---- TLS


async def test_tls_and_no_tls(examined: Examined, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    async with replica(tls=authority.files()) as server:
        assert list(await examined(server.address, ca_file=str(authority.ca_file))) == [Code.NO_POOLS]
        missing = await examined(server.address)
        unknown = await examined(server.address, ca_file=str(other.ca_file))
        unusable = await examined(server.address, ca_file=str(tmp_path / "none.crt"))
    assert list(missing) == [Code.TLS_MISSING]
    assert "speaks TLS: set SNAKEPIT_CA_FILE" in missing[Code.TLS_MISSING].message
    assert list(unknown) == [Code.CERTIFICATE_UNKNOWN]
    assert "is of no CA in" in unknown[Code.CERTIFICATE_UNKNOWN].message
    assert list(unusable) == [Code.TLS_FILE_UNUSABLE]
    async with replica() as server:
        found = await examined(server.address, ca_file=str(authority.ca_file))
    assert list(found) == [Code.TLS_NOT_SPOKEN]


async def test_certificates_that_are_past_their_time_or_somebody_elses(examined: Examined, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "own")
    for code, files in (
        (Code.CERTIFICATE_EXPIRED, authority.files("expired", ends=-timedelta(days=1))),
        (Code.CERTIFICATE_NOT_YET_VALID, authority.files("early", begins=timedelta(hours=1), ends=timedelta(days=1))),
        (Code.CERTIFICATE_OF_ANOTHER, authority.files("others", names=["elsewhere"])),
    ):
        async with replica(tls=files) as server:
            assert list(await examined(server.address, ca_file=str(authority.ca_file))) == [code]


async def test_a_port_that_takes_only_clients_with_a_certificate(examined: Examined, signs: Issuer, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "own")
    files = authority.files(client_ca=authority.ca_file)
    async with replica(tls=files, tls_clients="127.0.0.1:0", authentication=signs.settings()) as server:
        found = await examined(f"127.0.0.1:{server.tls_clients_port}", ca_file=str(authority.ca_file))
    assert list(found) == [Code.CLIENT_CERTIFICATE_MISSING]
    assert "set SNAKEPIT_CLIENT_CERT_FILE and SNAKEPIT_CLIENT_KEY_FILE" in found[Code.CLIENT_CERTIFICATE_MISSING].message


# ---- tokens, rights


@asynccontextmanager
async def asking(signs: Issuer, asks: Reviewer, folder: Path) -> AsyncIterator[Running]:
    """A replica that asks for tokens and rights."""
    (folder / "own").write_text("own")
    async with replica(authentication=signs.settings(api_server=asks.url, token_file=str(folder / "own"))) as server:
        yield server


async def test_tokens_that_are_missing_unreadable_past_their_time_for_others_or_of_nobody_known(
    examined: Examined, signs: Issuer, asks: Reviewer, tmp_path: Path
) -> None:
    past, others = int(time.time()) - 7200, "another.cluster"
    bad = {
        Code.TOKEN_UNREADABLE: tmp_path / "nowhere",
        Code.TOKEN_EXPIRED: put(tmp_path / "old", token(ADA, exp=past, nbf=past - 60, iat=past - 60)),
        Code.TOKEN_FOR_ANOTHER: put(tmp_path / "others", token(ADA, aud=[others])),
        Code.TOKEN_REFUSED: put(tmp_path / "garbage", "no.token"),
    }
    async with asking(signs, asks, tmp_path) as server:
        missing = await examined(server.address)
        found = {code: await examined(server.address, token_file=str(file)) for code, file in bad.items()}
    assert list(missing) == [Code.TOKEN_MISSING]
    assert "asks for a token, and none was sent: make one by `kubectl create token" in missing[Code.TOKEN_MISSING].message
    assert {code: list(each) for code, each in found.items()} == {code: [code] for code in bad}
    assert "has expired 2 h ago" in found[Code.TOKEN_EXPIRED][Code.TOKEN_EXPIRED].message
    assert "--audience snakepit.test`" in found[Code.TOKEN_FOR_ANOTHER][Code.TOKEN_FOR_ANOTHER].message


async def test_a_token_that_is_good_only_later(examined: Examined, signs: Issuer, asks: Reviewer, tmp_path: Path) -> None:
    later = int(time.time()) + 3600
    file = put(tmp_path / "early", token(ADA, nbf=later, exp=later + 60))
    async with asking(signs, asks, tmp_path) as server:
        assert list(await examined(server.address, token_file=str(file))) == [Code.TOKEN_NOT_YET_VALID]


async def test_a_caller_without_rights_and_one_who_may_only_look(examined: Examined, signs: Issuer, asks: Reviewer, tmp_path: Path) -> None:
    file = str(put(tmp_path / "ada", token(ADA)))
    async with asking(signs, asks, tmp_path) as server, known_agent(server.address, tmp_path):
        nothing, no_list = await examined(server.address, POOL, token_file=file), await examined(server.address, token_file=file)
        asks.give(ADA, LOOK)
        server.door.access.forget()
        looks = await examined(server.address, POOL, token_file=file)
        asks.give(ADA, CALL)
        server.door.access.forget()
        well = await examined(server.address, POOL, token_file=file)
    assert list(nothing) == ["PERMISSION_DENIED"]
    assert f"'{ADA}' may not get snakepools" in nothing["PERMISSION_DENIED"].message
    assert list(no_list) == [Code.NO_POOLS]
    assert f"there is no pool that {ADA} may look at" in no_list[Code.NO_POOLS].message
    assert looks.keys() - well.keys() == {Code.NO_RIGHT}
    assert "may look at the pool and not call its tools" in looks[Code.NO_RIGHT].message
    assert well.keys() == {"CapsulesMissing"}


# ---- as a command


def test_a_program_gets_json_and_status_1_and_where_nothing_is_wrong_0(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "snakepit.cli", "doctor", "-o", "json", "--server", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=50, check=False)
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["reason"], found["severity"]) == (1, "NothingListens", "error")
    with dev_server.ready_dev(dev_server.pool_file(tmp_path, "idle", "support.sample:Sample", replicas="0")) as server:
        words = [sys.executable, "-m", "snakepit.cli", "doctor", "--server", server.server]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, "nothing is wrong with 1 pool\n")
