"""Clients that show a certificate of their own: a second way in, at a port of its own, with the same rights as by a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit._wire.trust import Trust
from snakepit.errors import PermissionDenied, ServerUnavailable, SnakepitError, Unauthenticated
from snakepit_control_plane.policy.rights import CALL, LOOK
from snakepit_control_plane.server import Running
from support.authority import Authority
from support.callers import ADA, known_agent, token
from support.control_plane import Caller
from support.reviewer import Reviewer
from support.simulated_agent import POOL


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "servers")


@pytest.fixture
def people(tmp_path: Path) -> Authority:
    """The CA of clients."""
    return Authority(tmp_path / "people")


@pytest.fixture
def own_settings(authority: Authority, people: Authority, asking_settings: dict[str, Any]) -> dict[str, Any]:
    return {**asking_settings, "tls": authority.files(client_ca=people.ca_file), "tls_clients": "127.0.0.1:0"}


@pytest.fixture
async def agent(server: Running, authority: Authority, tmp_path: Path) -> AsyncIterator[Any]:
    async with known_agent(server.address, tmp_path, trust=Trust(authority.ca_file)) as made:
        yield made


def client(server: Running, authority: Authority, monkeypatch: pytest.MonkeyPatch, shown: Any = None, port: int = 0) -> Client:
    for name, file in (("CERT", shown.certificate), ("KEY", shown.key)) if shown else ():
        monkeypatch.setenv(f"SNAKEPIT_CLIENT_{name}_FILE", str(file))
    return Client(f"127.0.0.1:{port or server.tls_clients_port}", ca_file=authority.ca_file, connect_timeout=3)


async def refusal(client: Client) -> SnakepitError:
    async with client:
        with pytest.raises(SnakepitError) as caught:
            await client.pool(POOL).call("echo", {"x": 1}, timeout=10)
    return caught.value


@pytest.mark.usefixtures("agent")
async def test_a_certificates_name_and_organisations_are_the_callers_subject_and_groups(
    server: Running, authority: Authority, people: Authority, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = people.files("ada", subject="ada", groups=["shop", "ops"])
    refused = await refusal(client(server, authority, monkeypatch, ada))
    assert isinstance(refused, PermissionDenied)
    assert "ada" in str(refused)
    bob = people.files("bob", subject="bob", groups=["shop", "ops"])
    asks.give("bob", CALL)
    async with client(server, authority, monkeypatch, bob) as caller:
        assert await caller.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        assert {link.transport for link in server.links.links} == {"lane"}
    reviewed = next(each for each in asks.asked if each["user"] == "bob")
    assert set(reviewed["groups"]) == {"shop", "ops", "system:authenticated"}


@pytest.mark.usefixtures("agent")
async def test_any_languages_client_may_show_one(server: Running, authority: Authority, people: Authority, asks: Reviewer) -> None:
    asks.give("ada", CALL)
    ada = people.files("ada", subject="ada")
    shown = grpc.ssl_channel_credentials(authority.ca_file.read_bytes(), ada.key.read_bytes(), ada.certificate.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.tls_clients_port}", shown) as channel:
        await Caller(channel).call("echo", {"x": 1})


@pytest.mark.usefixtures("agent")
async def test_who_passes_on_a_callers_token_over_it_lends_nobody_its_own_rights(
    server: Running, authority: Authority, people: Authority, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks.give("gateway", CALL, LOOK)
    async with client(server, authority, monkeypatch, people.files("gateway", subject="gateway")) as gateway:
        await gateway.pool(POOL).info()
        ada = gateway.as_caller(token=token(ADA))
        assert (await gateway.whoami()).subject == "gateway"
        assert (await ada.whoami()).subject == ADA
        for way in (lambda: ada.pool(POOL).info(), lambda: ada.pool(POOL).call("echo")):
            with pytest.raises(PermissionDenied, match=ADA):
                await way()


CLUSTERS = "names that begin with system: are the cluster's"


@pytest.mark.parametrize(
    ("subject", "groups", "why"),
    [
        ("system:admin", (), CLUSTERS),
        ("ada", ("shop", "system:masters"), CLUSTERS),
        (" ", (), "names nobody"),
        ("ada ", (), "names nobody"),
    ],
)
async def test_names_that_are_the_clusters_to_give_are_refused_and_such_as_look_like_anothers(
    server: Running,
    authority: Authority,
    people: Authority,
    monkeypatch: pytest.MonkeyPatch,
    subject: str,
    groups: tuple[str, ...],
    why: str,
) -> None:
    refused = await refusal(client(server, authority, monkeypatch, people.files("odd", subject=subject, groups=groups)))
    assert isinstance(refused, Unauthenticated)
    assert why in str(refused)


async def test_no_certificate_or_one_of_another_ca_or_one_that_has_expired_opens_nothing(
    server: Running, authority: Authority, people: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shown in (None, authority.files("stranger", subject="ada"), people.files("late", subject="ada", ends=-timedelta(days=1))):
        refused = await refusal(client(server, authority, monkeypatch, shown))
        assert isinstance(refused, ServerUnavailable)
        assert "takes only clients with a certificate of its CA: set SNAKEPIT_CLIENT_CERT_FILE" in str(refused)


async def test_a_certificate_is_no_token_where_tokens_are_asked_for(
    server: Running, authority: Authority, people: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.address.rpartition(":")[2])
    refused = await refusal(client(server, authority, monkeypatch, people.files("ada", subject="ada"), port))
    assert isinstance(refused, Unauthenticated)
    assert "sent no token" in str(refused)
