"""The real cert-manager makes what the chart asks it for, at a real API server; the operator follows it, and callers trust it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cryptography import x509

import snakepit
from snakepit._wire import shown as shown_module
from snakepit._wire.trust import Trust
from snakepit_control_plane.servers.certificate import TlsFiles
from snakepit_operator import authority as authority_module
from snakepit_operator import settings as operator_settings
from snakepit_operator.authority import Authority
from snakepit_operator.kube import Kube
from support.admin import Admin, equipped
from support.api_server import ADMIN, OPERATOR, SYSTEM, ApiServer
from support.authority import swap
from support.cert_manager import cert_manager
from support.chart import Objects, environment, rendered
from support.control_plane import replica
from support.eventually import eventually
from support.kube import kubectl
from support.pages import blocks
from support.simulated_agent import POOL, simulated_agent
from support.tasks import task

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

ISSUED_SECONDS = 120.0
MADE = ("Service", "Certificate", "Issuer", "Role", "RoleBinding", "APIService")
NAME = f"snakepit.{SYSTEM}"
CERTIFICATES = f"/apis/cert-manager.io/v1/namespaces/{SYSTEM}/certificates"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("api-server")
    with equipped(folder) as serving, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{serving.programs}:{os.environ['PATH']}")
        patch.setenv("KUBECONFIG", str(serving.kubeconfig(ADMIN)))
        with cert_manager(folder, serving.kubeconfig(ADMIN)):
            yield serving


@pytest.fixture
async def admin(server: ApiServer) -> AsyncIterator[Admin]:
    made = Admin(server, SYSTEM)
    yield made
    await made.close()


def written() -> tuple[str, list[str]]:
    """What docs/security.md has somebody apply, and the values that it has them set."""
    (company,) = blocks("docs/security.md", "yaml", "By cert-manager")
    (upgrade,) = blocks("docs/security.md", "sh", "By cert-manager")
    return company.text, re.findall(r"--set (\S+)", upgrade.text)


@pytest.fixture
def release(server: ApiServer) -> Objects:
    """What the chart makes with these values, applied, but for what would run on nodes."""
    company, values = written()
    kubectl("apply", "-f", "-", stdin=company)
    objects = rendered(server.programs / "helm", *values, "gateway.enabled=true", namespace=SYSTEM)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(e for e in objects if e["kind"] in MADE))
    return objects


async def issued(admin: Admin, name: str, but: str = "") -> dict[str, str]:
    """What the Secret holds, as text, once its certificate is another than `but`."""

    async def held() -> dict[str, str]:
        found = [each for each in await admin.every("secrets") if each["metadata"]["name"] == name]
        data = {key: base64.b64decode(value).decode() for each in found for key, value in each.get("data", {}).items()}
        return data if data.get("tls.crt", but) != but else {}

    return dict(await eventually(held, f"there is a certificate in {name}", ISSUED_SECONDS))


class Kubelet:
    """Brings a Secret to files that a program has mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.files = TlsFiles(folder / "tls/tls.crt", folder / "tls/tls.key")

    def brings(self, secret: dict[str, str]) -> None:
        self._count += 1
        data = self._folder / f"data-{self._count}"
        data.mkdir()
        for name, text in secret.items():
            (data / name).write_text(text)
        swap(data, self._folder / "tls")


async def test_what_the_chart_asks_for_is_issued_and_names_all_that_is_dialled(release: Objects, admin: Admin) -> None:
    for name, dialled in (
        ("snakepit-tls", {"snakepit", f"snakepit-control-plane.{SYSTEM}"}),
        ("snakepit-gateway-tls", {"snakepit-gateway"}),
    ):
        secret = await issued(admin, name)
        made = x509.load_pem_x509_certificate(secret["tls.crt"].encode())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        assert dialled <= set(names) == set(release.get("Certificate", name)["spec"]["dnsNames"])
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(secret["ca.crt"].encode()))


@pytest.fixture
async def told(server: ApiServer, release: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """The file in which the operator of that chart, with its rights, keeps whom to trust."""
    monkeypatch.setattr(authority_module, "ROUND_SECONDS", 0.1)
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(OPERATOR)))
    variables = environment(dict(release.pod_specs())["snakepit-operator"])
    settings = operator_settings.load(variables | {"POD_NAME": "me", "POD_NAMESPACE": SYSTEM})
    kube = await Kube.connect()
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(ADMIN)))
    file = tmp_path / "operator/ca.crt"
    authority = Authority(kube, replace(settings, ca_file=str(file)), lambda: None, asyncio.get_running_loop().time)
    try:
        async with task(authority.run()):
            await asyncio.wait_for(authority.known.wait(), ISSUED_SECONDS)
            yield file
    finally:
        await kube.close()


async def test_callers_trust_what_the_operator_tells_and_a_renewal_fails_no_call_and_breaks_no_link(
    told: Path, admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_module, "LOOK_SECONDS", 0.0)
    kubelet, first = Kubelet(tmp_path), await issued(admin, "snakepit-tls")
    kubelet.brings(first)
    spread = await admin.ask("GET", f"/api/v1/namespaces/{SYSTEM}/configmaps/snakepit-ca")
    assert spread["data"]["ca.crt"] == first["ca.crt"] == await asyncio.to_thread(told.read_text)
    done = asyncio.Event()

    async def call_on(caller: snakepit.Client) -> int:
        count = 0
        while not done.is_set():
            assert await caller.pool(POOL).call("echo", {"x": count}, timeout=10) == {"x": count}
            count += 1
        return count

    def client() -> snakepit.Client:
        return snakepit.Client(running.address, ca_file=told, tls_server_name=NAME)

    async with (
        replica(tls=kubelet.files) as running,
        simulated_agent(running.address, trust=Trust(told, NAME)),
        client() as caller,
    ):
        calling = [asyncio.create_task(call_on(caller)) for _ in range(2)]
        await eventually(lambda: caller.links == 1, "it is linked")
        before = set(running.links.links)
        await renew(admin, "snakepit-tls")
        second = await issued(admin, "snakepit-tls", but=first["tls.crt"])
        assert second["tls.key"] != first["tls.key"], "each has a key of its own"
        kubelet.brings(second)
        async with client() as another:
            assert await another.pool(POOL).call("echo", {"x": 1}, timeout=10) == {"x": 1}
        port = int(running.address.rpartition(":")[2])
        assert await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) == second["tls.crt"]
        assert before <= set(running.links.links)
        done.set()
        assert min(await asyncio.gather(*calling)) > 0


async def renew(admin: Admin, name: str) -> None:
    """As `cmctl renew` asks for it."""
    held = await admin.ask("GET", f"{CERTIFICATES}/{name}")
    now = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": "2026-11-30T00:00:00Z"}
    others = [each for each in held["status"]["conditions"] if each["type"] != "Issuing"]
    await admin.merge(f"{CERTIFICATES}/{name}/status", {"status": {"conditions": [*others, now]}})


async def test_a_release_that_had_the_operators_own_certificate_gets_one_of_the_company(admin: Admin, release: Objects) -> None:
    """cert-manager takes the operator's Secret over."""
    of_the_company = (await issued(admin, "snakepit-tls"))["ca.crt"]
    await admin.ask("DELETE", f"{CERTIFICATES}/snakepit-tls")
    await admin.ask("DELETE", f"/api/v1/namespaces/{SYSTEM}/secrets/snakepit-tls")
    data = {"ca.crt": "b3Vycw==", "tls.crt": "b3Vycw==", "tls.key": "b3Vycw=="}
    metadata = {"name": "snakepit-tls", "labels": {"app.kubernetes.io/managed-by": "snakepit-operator"}}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    await admin.ask("POST", f"/api/v1/namespaces/{SYSTEM}/secrets", body)
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(release.get("Certificate", "snakepit-tls")))
    assert (await issued(admin, "snakepit-tls", but="ours"))["ca.crt"] == of_the_company


async def test_the_injector_tells_the_api_server_by_whom_the_metrics_api_is_known(server: ApiServer, admin: Admin) -> None:
    values = ("metricsApi.enabled=true", "metricsApi.certificate.certManager.enabled=true")
    objects = rendered(server.programs / "helm", *values, namespace=SYSTEM)
    wanted = [each for each in objects if each["kind"] in MADE and "metrics" in each["metadata"]["name"]]
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(wanted))
    service = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta2.custom.metrics.k8s.io"
    try:
        authority = (await issued(admin, "snakepit-metrics-api"))["ca.crt"]

        async def injected() -> str:
            return str((await admin.ask("GET", service))["spec"].get("caBundle", ""))

        assert base64.b64decode(await eventually(injected, "the authority is there", ISSUED_SECONDS)).decode() == authority
    finally:
        await admin.ask("DELETE", service)
