"""The real KEDA and the real HorizontalPodAutoscaler size a pool at a real API server. The test plays nodes, and what runs on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import snakepit
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_operator import views as views_module
from snakepit_operator.controller import Controller
from snakepit_operator.external_scaler import ExternalScaler
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.pools import Pools
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused, equipped, namespaced
from support.api_server import ADMIN, OPERATOR, SYSTEM, ApiServer
from support.control_plane import replica
from support.documents import scaled_object
from support.eventually import eventually
from support.go_tools import ROOT
from support.keda import Keda
from support.simulated_agent import SimulatedAgent
from support.simulated_tools import success

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

WAKES = 3
CALL_SECONDS = 0.25
RECENT_SECONDS = 3.0
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with equipped(tmp_path_factory.mktemp("api-server")) as serving:
        serving.autoscale()
        yield serving


@pytest.fixture(scope="module")
def keda(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keda]:
    programs = subprocess.run(["python3", ROOT / "hack/keda.py"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
        patch.setenv("KUBECONFIG", str(server.kubeconfig(ADMIN)))
        with Keda(Path(programs), tmp_path_factory.mktemp("keda"), server.kubeconfig(ADMIN)).running() as made:
            yield made


@pytest.fixture
async def admin(server: ApiServer) -> AsyncIterator[Admin]:
    async with namespaced(server) as made:
        yield made


@pytest.fixture
async def control_plane() -> AsyncIterator[Running]:
    async with replica(told=False) as running:
        yield running


@pytest.fixture
async def scaler(server: ApiServer, admin: Admin, control_plane: Running, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where an operator serves KEDA; it leads, too."""
    monkeypatch.setattr(views_module, "RECENT_SECONDS", RECENT_SECONDS)
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(OPERATOR)))
    agent = AgentImage(image="agent:1", control_plane=control_plane.address)
    kube = await Kube.connect()
    pools = Pools(kube, (admin.namespace,))
    serving = ExternalScaler(pools, "127.0.0.1:0")
    leader = Controller(kube, Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=(admin.namespace,)))
    running = [asyncio.create_task(each) for each in (leader.run(), pools.run(), serving.run(), kubelets(admin, control_plane))]
    try:
        await eventually(lambda: has_port(serving), "KEDA is served")
        yield serving.address
        assert not any(each.done() for each in running)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await kube.close()


async def has_port(serving: ExternalScaler) -> bool:
    return not serving.address.endswith(":0")


async def work(_: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    await asyncio.sleep(CALL_SECONDS)
    return success(call.tool)


async def kubelets(admin: Admin, control_plane: Running) -> None:
    """What is new runs, with an agent of two workers; what is to go has gone when its agent has ended."""
    name, agents = f"{admin.namespace}/digits", dict[str, SimulatedAgent]()
    try:
        while True:
            for pod in await admin.every("pods"):
                own = pod["metadata"]["name"]
                if "deletionTimestamp" in pod["metadata"]:
                    if own in agents:
                        await agents.pop(own).stop()
                    await admin.delete("pods", own, gracePeriodSeconds=0)
                elif own not in agents:
                    held = control_plane.flow.pools[name].settings
                    uid = pod["metadata"]["uid"]
                    made = SimulatedAgent(
                        control_plane.address, name=own, pool=name, workers=2, settings=held, tools={"work": work}, pod_uid=uid
                    )
                    agents[own] = await made.start()
                    with contextlib.suppress(Refused):  # somebody may have deleted it meanwhile
                        await admin.run(own)
            await asyncio.sleep(0.1)
    finally:
        for each in agents.values():
            await each.stop()


async def scale(admin: Admin, scaler: str, **metadata: str) -> None:
    """By the ScaledObject of the documents, in less time."""
    document = scaled_object("digits")
    (trigger,) = document["spec"]["triggers"]
    trigger["metadata"] |= {"scalerAddress": scaler, **metadata}
    document["spec"] |= {"cooldownPeriod": 3, "pollingInterval": 3}
    await admin.ask("POST", f"/apis/keda.sh/v1alpha1/namespaces/{admin.namespace}/scaledobjects", document)


async def status_of(admin: Admin, condition: str) -> str:
    path = f"/apis/keda.sh/v1alpha1/namespaces/{admin.namespace}/scaledobjects/digits"
    found = (await admin.ask("GET", path)).get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in found if each["type"] == condition), "")


async def capsules(admin: Admin) -> int:
    return len([each for each in await admin.every("pods") if "deletionTimestamp" not in each["metadata"]])


async def until(keda: Keda, look: Any, what: str) -> None:
    async def asked() -> bool:
        return bool(await look())

    try:
        await eventually(asked, what, PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{keda.log('operator')}\n{keda.log('adapter')}") from None


def test_the_proto_that_we_serve_is_that_of_the_keda_that_we_are_tried_with(keda: Keda) -> None:
    own = (ROOT / "proto/keda/externalscaler.proto").read_text()
    assert own.endswith((keda.programs / "externalscaler.proto").read_text())


async def test_keda_brings_a_pool_from_zero_to_what_its_calls_need_and_back_and_no_call_fails(
    keda: Keda, admin: Admin, scaler: str, control_plane: Running
) -> None:
    await admin.make_pool(replicas=0, worker={"adapter": "digits.tools:Digits", "processes": 2}, drain={"timeoutSeconds": 5})

    async def is_known() -> bool:
        return (await admin.pool()).get("status", {}).get("inUse") is False

    async def is_ready() -> bool:
        return await status_of(admin, "Ready") == "True"

    async def is_gone() -> bool:
        return not await admin.every("pods")

    async def has_grown() -> bool:
        return await capsules(admin) >= 3

    await until(keda, is_known, "the pool is known, and not in use")
    await scale(admin, scaler)
    await until(keda, is_ready, "the ScaledObject is ready")
    sent = answered = 0
    took = []
    async with snakepit.Client(control_plane.address) as client:
        pool = client.pool(f"{admin.namespace}/digits")
        for _ in range(WAKES):
            await until(keda, is_gone, "no pod is left")
            begin = time.monotonic()
            sent += 1
            await pool.call("work", timeout=60)
            answered += 1
            took.append(round(time.monotonic() - begin - CALL_SECONDS, 2))
        enough = asyncio.Event()

        async def caller() -> tuple[int, int]:
            begun = ended = 0
            while not enough.is_set():
                begun += 1
                await pool.call("work", timeout=60)
                ended += 1
            return begun, ended

        callers = [asyncio.create_task(caller()) for _ in range(6)]
        await until(keda, has_grown, "it has three capsules for six callers")
        enough.set()
        for begun, ended in await asyncio.gather(*callers):
            sent, answered = sent + begun, answered + ended
    await until(keda, is_gone, "it is at zero again")
    print(f"from zero to an agent that has the call: {took} s; calls sent: {sent}, answered: {answered}")
    assert sent == answered > WAKES


@pytest.mark.parametrize(
    ("spec", "metadata", "told"),
    [
        ({"autoscaling": {"minReplicas": 0, "maxReplicas": 2}}, {}, "ignores the spec.replicas that KEDA writes"),
        ({"replicas": 0}, {"metrc": "sessions"}, "metadata.metrc is unknown: use pool, metric and target"),
    ],
    ids=["a pool that sizes itself", "a field that nobody knows"],
)
async def test_what_is_refused_to_keda_is_in_the_events_of_the_scaled_object(
    spec: dict[str, Any], metadata: dict[str, str], told: str, keda: Keda, admin: Admin, scaler: str
) -> None:
    await admin.make_pool(**spec)
    await scale(admin, scaler, **metadata)

    async def said() -> bool:
        return any(told in each["message"] for each in await admin.every("events") if each["involvedObject"]["kind"] == "ScaledObject")

    await until(keda, said, "the ScaledObject says why")
