"""Certificates at a real API server, with the chart's rights: made, kept, told to every namespace with a pool, and taken away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from snakepit_operator import authority as authority_module
from snakepit_operator.authority import Authority
from snakepit_operator.certificates import bundle, read, renewed
from snakepit_operator.controller import Controller
from snakepit_operator.kube import Kube, KubeError
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused, rights
from support.api_server import SYSTEM
from support.eventually import eventually
from support.tasks import task

NAMES = ("snakepit", f"snakepit.{SYSTEM}")
CORE = f"/api/v1/namespaces/{SYSTEM}"
OWN = (f"{CORE}/secrets/snakepit-ca", f"{CORE}/secrets/snakepit-tls", f"{CORE}/configmaps/snakepit-ca")


async def found(admin: Admin, path: str) -> dict[str, Any] | None:
    try:
        return await admin.ask("GET", path)
    except Refused as error:
        if error.status != 404:
            raise
        return None


def gone(admin: Admin, *paths: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return not any([await found(admin, path) for path in paths])

    return look


@pytest.fixture
async def release(admin: Admin) -> AsyncIterator[None]:
    """The Service that the certificate is for; nothing of it is left afterwards."""
    spec = {"ports": [{"port": 7800}]}
    await admin.ask("POST", f"{CORE}/services", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "snakepit"}, "spec": spec})
    yield
    for path in (f"{CORE}/services/snakepit", *OWN):
        with contextlib.suppress(Refused):
            await admin.ask("DELETE", path)


@pytest.fixture
def settings(admin: Admin, tmp_path: Path) -> Settings:
    return Settings(
        namespace=SYSTEM,
        identity="me",
        agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1", authority="snakepit-ca"),
        watch_namespaces=(admin.namespace,),
        tls_service="snakepit",
        tls_secret="snakepit-tls",
        tls_names=NAMES,
        ca_file=str(tmp_path / "deep/ca.crt"),
    )


@pytest.fixture
def authority(kube: Kube, settings: Settings) -> Authority:
    return Authority(kube, settings, lambda: None, time.time)


@pytest.fixture
async def gateway_rights(admin: Admin) -> AsyncIterator[None]:
    """The operator's, as the chart has them with gateways."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/roles/snakepit-operator-certificates"
    usual = (await admin.ask("GET", path))["rules"]
    made = rights(admin.server.programs / "helm", SYSTEM, "gateway.enabled=true")
    (role,) = [each for each in made if each["metadata"]["name"] == path.rpartition("/")[2] and each["kind"] == "Role"]
    await admin.merge(path, {"rules": role["rules"]})
    yield
    await admin.merge(path, {"rules": usual})


def written(settings: Settings) -> str:
    return Path(settings.ca_file).read_text()


async def text(admin: Admin, path: str, name: str) -> str:
    return base64.b64decode((await admin.ask("GET", path))["data"][name]).decode()


async def test_from_nothing_there_are_two_secrets_and_the_authority_is_told(
    release: None, admin: Admin, authority: Authority, settings: Settings
) -> None:
    await authority.round()
    signing, serving, told = [await admin.ask("GET", path) for path in OWN]
    assert set(signing["data"]) == set(serving["data"]) == {"ca.crt", "tls.crt", "tls.key"}
    assert serving["type"] == "kubernetes.io/tls"
    assert told["data"] == {"ca.crt": authority.bundle}
    assert authority.bundle == await text(admin, OWN[1], "ca.crt") == await text(admin, OWN[0], "tls.crt")
    assert authority.bundle == written(settings)
    await authority.round()
    assert [(await admin.ask("GET", path))["metadata"]["resourceVersion"] for path in OWN[:2]] == [
        each["metadata"]["resourceVersion"] for each in (signing, serving)
    ]


async def test_a_secret_that_somebody_takes_away_is_back_and_whoever_was_trusted_still_is(
    release: None, admin: Admin, authority: Authority
) -> None:
    await authority.round()
    first, shown = authority.bundle, await text(admin, OWN[1], "tls.crt")
    await admin.ask("DELETE", OWN[0])
    await authority.round()
    assert first in authority.bundle
    assert authority.bundle.count("BEGIN CERTIFICATE") == 2
    assert await text(admin, OWN[1], "tls.crt") == shown
    await admin.ask("DELETE", OWN[1])
    await authority.round()
    assert first in authority.bundle
    assert await text(admin, OWN[1], "tls.crt") != shown
    assert (await admin.ask("GET", OWN[2]))["data"]["ca.crt"] == authority.bundle


async def test_gateways_get_a_certificate_of_their_own_names_and_key_and_of_the_same_authority(
    release: None, admin: Admin, kube: Kube, settings: Settings, gateway_rights: None
) -> None:
    """Who has the gateways' key can't pose as the control plane."""
    names, path = ("snakepit-gateway",), f"{CORE}/secrets/snakepit-gateway-tls"
    with_gateways = replace(settings, tls_gateway_names=names, tls_gateway_secret="snakepit-gateway-tls")
    authority = Authority(kube, with_gateways, lambda: None, time.time)
    await authority.round()
    signing, serving, own = [await admin.ask("GET", each) for each in (*OWN[:2], path)]
    try:
        assert own["type"] == "kubernetes.io/tls"
        assert own["metadata"]["ownerReferences"] == serving["metadata"]["ownerReferences"]
        theirs, ours = read(signing, serving), read(signing, own)
        assert renewed(theirs, NAMES, datetime.now(UTC)) == theirs
        assert renewed(ours, names, datetime.now(UTC)) == ours
        assert ours.serving is not None
        assert theirs.serving is not None
        assert ours.serving.key.public_key() != theirs.serving.key.public_key()
        await authority.round()
        assert await admin.ask("GET", path) == own
        await admin.ask("DELETE", path)
        await authority.round()
        assert (await admin.ask("GET", path))["data"] != own["data"]
    finally:
        await admin.ask("DELETE", path)


async def test_two_that_lead_at_a_time_agree_in_the_end(release: None, admin: Admin, kube: Kube, settings: Settings) -> None:
    two = [Authority(kube, settings, lambda: None, time.time) for _ in range(2)]
    for taken in ((), OWN[:1], OWN[1:2], OWN[:2]):
        for path in taken:
            await admin.ask("DELETE", path)
        for said in await asyncio.gather(*(each.round() for each in two), return_exceptions=True):
            assert said is None or (isinstance(said, KubeError) and said.conflict)
        for each in two:
            await each.round()
        held = read(*[await admin.ask("GET", path) for path in OWN[:2]])
        assert renewed(held, NAMES, datetime.now(UTC)) == held
        assert two[0].bundle == two[1].bundle == bundle(held)
        assert (await admin.ask("GET", OWN[2]))["data"]["ca.crt"] == bundle(held)


async def test_the_operator_may_not_touch_any_other_secret_or_config_map(release: None, kube: Kube, authority: Authority) -> None:
    for resource, verb in ((authority_module.SECRETS, "secrets"), (authority_module.CONFIG_MAPS, "configmaps")):
        body = {"apiVersion": "v1", "kind": "Secret" if verb == "secrets" else "ConfigMap", "metadata": {"name": "other"}}
        for attempt in (
            kube.get(resource, SYSTEM, "other"),
            kube.apply(resource, SYSTEM, "other", body),
            kube.create(resource, SYSTEM, body),
        ):
            with pytest.raises(KubeError) as refused:
                await attempt
            assert refused.value.code == 403


async def test_a_secret_of_somebody_else_is_read_and_followed_and_what_is_missing_is_said(
    release: None, admin: Admin, kube: Kube, settings: Settings
) -> None:
    authority = Authority(kube, replace(settings, tls_names=()), lambda: None, time.time)
    with pytest.raises(ValueError, match=f"there is no Secret {SYSTEM}/snakepit-tls yet"):
        await authority.round()
    metadata = {"name": "snakepit-tls"}
    await admin.ask("POST", f"{CORE}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"tls.crt": "x"}})
    with pytest.raises(ValueError, match=f"the Secret {SYSTEM}/snakepit-tls has no ca.crt"):
        await authority.round()
    for said in ("theirs", "theirs anew"):
        await admin.merge(OWN[1], {"stringData": {"ca.crt": said}})
        await authority.round()
        assert (await admin.ask("GET", OWN[2]))["data"] == {"ca.crt": said}
    assert await found(admin, OWN[0]) is None


async def test_every_namespace_with_a_pool_is_told_whom_to_trust_follows_and_forgets_with_its_last_pool(
    release: None, admin: Admin, kube: Kube, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_module, "ROUND_SECONDS", 0.1)
    path = admin.path("configmaps", "snakepit-ca")
    for name in ("digits", "others"):
        await admin.make_pool(name)
    async with task(Controller(kube, settings).run()):

        async def told() -> bool:
            there = await found(admin, path)
            return there is not None and there["data"]["ca.crt"] == written(settings)

        async def owned_by() -> list[str]:
            there = await found(admin, path)
            return sorted(each["name"] for each in there["metadata"]["ownerReferences"]) if there else []

        async def both() -> bool:
            return await owned_by() == ["digits", "others"] and await told()

        await eventually(both, "both pools have it")

        async def pods() -> list[dict[str, Any]]:
            return await admin.every("pods")

        await eventually(pods, "there are capsules")
        made = (await admin.ask("GET", path))["metadata"]["creationTimestamp"]
        assert all(made <= pod["metadata"]["creationTimestamp"] for pod in await pods())
        before = written(settings)
        await admin.ask("DELETE", OWN[0])

        async def follows() -> bool:
            return written(settings) != before and await told()

        await eventually(follows, "the next authority is told")
        admin.server.control("garbage-collector-controller")
        try:
            await admin.delete("snakepools", "digits")

            async def of_others() -> bool:
                return await owned_by() == ["others"]

            await eventually(of_others, "it is the other pool's alone")
            assert await told()
            await admin.delete("snakepools", "others")
            await eventually(gone(admin, path), "it is gone with the last")
            await admin.ask("DELETE", f"{CORE}/services/snakepit")
            await eventually(gone(admin, *OWN), "the release's own are gone with the release")
        finally:
            admin.server.uncontrolled()


async def test_a_failure_costs_a_new_leader_a_moment_and_no_whole_round(
    release: None, admin: Admin, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    service = await admin.ask("GET", f"{CORE}/services/snakepit")
    await admin.ask("DELETE", f"{CORE}/services/snakepit")
    async with task(authority.run()):
        await eventually(lambda: "the control plane's certificate is left as it is" in caplog.text, "it has failed")
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "snakepit"}, "spec": {"ports": service["spec"]["ports"]}}
        await admin.ask("POST", f"{CORE}/services", body)
        async with asyncio.timeout(authority_module.ROUND_SECONDS / 2):
            await authority.known.wait()
