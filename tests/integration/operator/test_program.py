"""The operator's process: it leads or waits, answers the kubelet, follows the lease, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from snakepit_operator import leases as leases_module
from snakepit_operator import main as main_module
from snakepit_operator.externalscaler.externalscaler_pb2 import ScaledObjectRef
from snakepit_operator.externalscaler.externalscaler_pb2_grpc import ExternalScalerStub
from snakepit_operator.kube import Kube
from snakepit_operator.main import Operator
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from support import log_lines
from support.admin import Admin, grant
from support.api_server import OPERATOR, SYSTEM, TEAM, TEAMS_OPERATOR, ApiServer
from support.eventually import eventually
from support.gate import Gate
from support.ports import free_port

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/snakepit-operator"
END_SECONDS = 20.0

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
async def lease(admin: Admin) -> None:
    """Nobody's."""
    await admin.ask("PUT", LEASE, {**await admin.ask("GET", LEASE), "spec": {}})


@pytest.fixture
def start(server: ApiServer, admin: Admin, tmp_path: Path) -> Iterator[Start]:
    """`start("one", port)`: the program, with its log in `one.log`."""
    started: list[subprocess.Popen[bytes]] = []

    def run(name: str, port: int, **variables: str) -> subprocess.Popen[bytes]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SNAKEPIT_")},
            "KUBECONFIG": str(server.kubeconfig(OPERATOR)),
            "POD_NAMESPACE": SYSTEM,
            "POD_NAME": name,
            "WATCH_NAMESPACES": admin.namespace,
            "SNAKEPIT_AGENT_IMAGE": "agent:1",
            "SNAKEPIT_CONTROL_PLANE": "127.0.0.1:1",
            "SNAKEPIT_HEALTH_LISTEN": f"127.0.0.1:{port}",
            **variables,
        }
        with (tmp_path / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "snakepit_operator.main"]
            script = Path(sys.executable).with_name("snakepit-operator")
            started.append(subprocess.Popen([script] if script.exists() else command, env=environment, stdout=log, stderr=log))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.wait(END_SECONDS)
    for log in tmp_path.glob("*.log"):
        assert {
            line["component"]
            for line in log_lines.lines(line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
        } <= {"operator"}


async def holder(admin: Admin) -> str:
    return str(((await admin.ask("GET", LEASE)).get("spec") or {}).get("holderIdentity", ""))


async def held_by(admin: Admin, name: str) -> None:
    async def look() -> bool:
        return await holder(admin) == name

    await eventually(look, f"{name} leads")


async def healthy(address: str, service: str = "") -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def asked_by_keda(address: str, namespace: str) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        ref = ScaledObjectRef(name="digits", namespace=namespace, scalerMetadata={"pool": "digits"})
        found = await ExternalScalerStub(channel).GetMetricSpec(ref, timeout=5, wait_for_ready=True)
        return str(found.metricSpecs[0].metricName)


async def pods(admin: Admin, count: int) -> None:
    async def look() -> bool:
        return len(await admin.every("pods")) == count

    await eventually(look, f"{count} pods")


async def test_the_leader_works_and_at_term_gives_the_lease_to_the_one_that_waits(start: Start, admin: Admin) -> None:
    first_port, second_port = free_port(), free_port()
    first = start("first", first_port)
    await held_by(admin, "first")
    scaler = f"127.0.0.1:{free_port()}"
    second = start("second", second_port, SNAKEPIT_KEDA_LISTEN=scaler)
    await admin.make_pool(replicas=2)
    await pods(admin, 2)

    async def both_answer() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return all([await healthy(f"127.0.0.1:{port}", service) for port in (first_port, second_port) for service in ("", "ready")])
        return False

    await eventually(both_answer, "leader and follower are alive and ready")
    assert await asked_by_keda(scaler, admin.namespace) == "recommended_replicas", "KEDA needs no leader"
    assert await holder(admin) == "first"
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, END_SECONDS) == 0
    await held_by(admin, "second")
    await admin.edit(replicas=4)
    await pods(admin, 4)
    second.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(second.wait, END_SECONDS) == 0
    assert await holder(admin) == ""


async def test_two_releases_serve_one_cluster_one_of_them_with_rights_in_its_own_namespace_alone(
    start: Start, server: ApiServer, admin: Admin, tmp_path: Path
) -> None:
    team = Admin(server, TEAM)
    try:
        await team.make_namespace()
        assert await grant(team, f"watchNamespaces={{{TEAM}}}") == {"Role", "RoleBinding", "Lease"}
        start("first", free_port())
        start("second", free_port(), KUBECONFIG=str(server.kubeconfig(TEAMS_OPERATOR)), POD_NAMESPACE=TEAM, WATCH_NAMESPACES=TEAM)
        for each in (admin, team):
            await each.make_pool(replicas=2)
        for each in (admin, team):
            await pods(each, 2)
            await each.edit(replicas=3)
            await pods(each, 3)
        releases = [(await each.pool())["status"]["release"] for each in (admin, team)]
        assert releases == [f"{SYSTEM}/snakepit-operator", f"{TEAM}/snakepit-operator"]
        for name in ("first", "second"):
            assert "forbidden" not in (tmp_path / f"{name}.log").read_text()
    finally:
        await team.close()


async def test_what_is_wrong_with_its_settings_is_said_at_once_and_is_no_success(start: Start, tmp_path: Path) -> None:
    process = start("wrong", free_port(), SNAKEPIT_AGENT_IMAGE="")
    assert await asyncio.to_thread(process.wait, END_SECONDS) == 1
    assert "SNAKEPIT_AGENT_IMAGE: it is not set" in (tmp_path / "wrong.log").read_text()


async def test_who_can_not_listen_does_not_lead(start: Start, admin: Admin) -> None:
    port = free_port()
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    process = start("deaf", port)
    assert await asyncio.to_thread(process.wait, END_SECONDS) != 0
    assert await holder(admin) == ""
    taken.close()


# ---- in the test's own process: its times are shortened, and its way to the API server has a door


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "RENEW_SECONDS", 2.0)
    monkeypatch.setattr(leases_module, "RETRY_SECONDS", 0.1)


@pytest.fixture
def health() -> str:
    """Where it is asked whether it is alive."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def operator(kube: Kube, admin: Admin, health: str, hasty: None) -> AsyncIterator[Operator]:
    settings = Settings(
        namespace=SYSTEM,
        identity="inside",
        agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1"),
        watch_namespaces=(admin.namespace,),
        health=health,
    )
    made, stop = Operator(kube, settings), asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    yield made
    stop.set()
    async with asyncio.timeout(END_SECONDS):
        await running


async def leads(operator: Operator, wanted: bool) -> None:
    async def look() -> bool:
        return operator.leads is wanted

    await eventually(look, f"leading is {wanted}")


async def watched(admin: Admin, *counts: int) -> None:
    """Edits that the leader notices: kopf takes five seconds to end if it is told so while it begins."""
    for count in counts:
        await admin.edit(replicas=count)
        await pods(admin, count)


async def test_who_can_not_reach_the_api_server_stops_leading_and_leads_again_when_it_can(
    operator: Operator, admin: Admin, health: str, door: Gate
) -> None:
    await leads(operator, True)
    await admin.make_pool(replicas=1)
    await pods(admin, 1)
    await door.shut()
    await leads(operator, False)
    assert await healthy(health)
    await admin.edit(replicas=3)
    await door.open()
    await leads(operator, True)
    await pods(admin, 3)
    await watched(admin, 4)


async def test_who_hears_nothing_of_the_api_server_stops_leading_too(operator: Operator, admin: Admin, door: Gate) -> None:
    await leads(operator, True)
    await admin.make_pool(replicas=1)
    await watched(admin, 2, 3)
    door.swallow()
    await leads(operator, False)
    await door.shut()
    await door.open()
    await leads(operator, True)
    await watched(admin, 4, 5)


async def test_who_sees_another_lead_stops_and_makes_no_pods_any_more(operator: Operator, admin: Admin) -> None:
    await leads(operator, True)
    await admin.make_pool(replicas=1)
    await watched(admin, 2, 3)
    await admin.merge(LEASE, {"spec": {"holderIdentity": "another"}})
    await leads(operator, False)
    await admin.edit(replicas=5)
    assert not operator.leads
    assert len(await admin.every("pods")) == 3


async def test_a_leader_whose_loop_does_not_come_round_is_not_alive_and_says_so(
    operator: Operator, admin: Admin, health: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await leads(operator, True)
    await admin.make_pool(replicas=1)
    await watched(admin, 2, 3)
    assert await healthy(health)
    monkeypatch.setattr(main_module, "STALE_SECONDS", -1.0)

    async def is_not() -> bool:
        return not await healthy(health) and not await healthy(health, "ready")

    await eventually(is_not, "the kubelet is told")
    assert "has not come round" in caplog.text
