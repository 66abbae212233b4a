"""The numbers for a HorizontalPodAutoscaler, through a real API server that aggregates them, and to nobody who goes past it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from snakepit_operator.kube import Kube
from snakepit_operator.metrics_api import MetricsApi
from snakepit_operator.pools import Pools
from support.admin import Admin, Refused
from support.api_server import FRONT_PROXY, SYSTEM, ApiServer, certificate
from support.chart import CHART, Objects, parse
from support.documents import hpa
from support.eventually import eventually
from support.ports import free_port
from support.tasks import task

API = "/apis/custom.metrics.k8s.io/v1beta2"
NAME = "snakepit-metrics-api"
HOST = f"{NAME}.{SYSTEM}.svc"
STATUS = {
    "replicas": 2,
    "recommendedReplicas": 5,
    "busySlots": 6,
    "totalSlots": 8,
    "queueDepth": 1,
    "sessions": 3,
    "selector": "snakepit.dev/pool=digits",
}


@pytest.fixture(scope="module")
def objects(server: ApiServer) -> Objects:
    """What the chart makes of metricsApi.enabled."""
    command = [server.programs / "helm", "template", "snakepit", CHART, "--kube-version", "v1.35.0", "--namespace", SYSTEM]
    words = ["--set", "metricsApi.enabled=true", "--show-only", "templates/operator/metrics-api.yaml"]
    environment = {**os.environ, "HOME": "/nonexistent"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=30, check=True, env=environment)
    return parse(done.stdout)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def registered(server: ApiServer, objects: Objects, port: int) -> Iterator[Objects]:
    """With the chart's rights. There are no nodes, so its Service leads to this machine. Others have this server before and after."""
    made: list[str] = []

    async def post(admin: Admin, path: str, each: dict[str, Any]) -> None:
        await admin.ask("POST", path, each)
        made.append(f"{path}/{each['metadata']['name']}")

    async def register() -> None:
        admin = Admin(server, SYSTEM)
        try:
            for kind in ("RoleBinding", "ClusterRole", "ClusterRoleBinding"):
                each = objects.get(kind, NAME)
                within = f"/namespaces/{each['metadata']['namespace']}" if "namespace" in each["metadata"] else ""
                await post(admin, f"/apis/{each['apiVersion']}{within}/{kind.lower()}s", each)
            service = objects.get("Service", NAME) | {"spec": {"type": "ExternalName", "externalName": "localhost"}}
            await post(admin, admin.path("services"), service)
            entry = objects.get("APIService", "v1beta2.custom.metrics.k8s.io")
            entry["spec"]["service"]["port"] = port
            await post(admin, "/apis/apiregistration.k8s.io/v1/apiservices", entry)
        finally:
            await admin.close()

    async def take_away() -> None:
        admin = Admin(server, SYSTEM)
        for each in reversed(made):
            await admin.ask("DELETE", each)
        await admin.close()

    asyncio.run(register())
    yield objects
    asyncio.run(take_away())


@pytest.fixture
def certificates(objects: Objects, tmp_path: Path) -> Path:
    """The chart's Secret, as it is mounted."""
    for name, text in objects.get("Secret", NAME)["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(text))
    return tmp_path


@pytest.fixture
async def api(kube: Kube, registered: Objects, certificates: Path, port: int, admin: Admin) -> AsyncIterator[Admin]:
    """The administrator, in a namespace with a pool whose status says something, while the operator serves."""
    await admin.make_pool()
    await say(admin, STATUS)
    pools = Pools(kube, (admin.namespace,))
    running = asyncio.create_task(MetricsApi(kube, pools, f"127.0.0.1:{port}", certificates, refresh_seconds=0.1).run())

    async def is_served() -> bool:
        try:
            await admin.ask("GET", API)
        except Refused:
            return False
        return True

    await eventually(is_served, "the API server finds the metrics API", 30)
    async with task(pools.run()):
        yield admin
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def say(admin: Admin, status: dict[str, Any], name: str = "digits") -> None:
    await admin.merge(admin.pools_path(name) + "/status", {"status": status})


def path(admin: Admin, metric: str, name: str = "digits") -> str:
    return f"{API}/namespaces/{admin.namespace}/snakepools.snakepit.dev/{name}/{metric}"


async def number(admin: Admin, metric: str) -> str:
    items = (await admin.ask("GET", path(admin, metric)))["items"]
    assert [each["describedObject"]["name"] for each in items] == ["digits"]
    return str(items[0]["value"])


async def test_each_number_of_a_pool_is_answered_through_the_api_server(api: Admin) -> None:
    found = {each["name"].partition("/")[2] for each in (await api.ask("GET", API))["resources"]}
    wanted = {"recommended_replicas": "5", "load_percent": "88", "busy_slots": "6", "queue_depth": "1", "sessions": "3"}
    assert found == wanted.keys()
    assert {metric: await number(api, metric) for metric in wanted} == wanted


async def test_a_star_is_every_pool_of_the_namespace_of_which_the_number_is_known(api: Admin) -> None:
    for name in ("other", "unheard"):
        await api.make_pool(name)
    await say(api, {"recommendedReplicas": 0}, "other")
    items = (await api.ask("GET", path(api, "recommended_replicas", "*")))["items"]
    assert {each["describedObject"]["name"]: each["value"] for each in items} == {"digits": "5", "other": "0"}
    await api.merge(api.pools_path("other"), {"metadata": {"labels": {"tier": "one"}}})
    items = (await api.ask("GET", path(api, "recommended_replicas", "*") + "?labelSelector=tier%3Done"))["items"]
    assert [each["describedObject"]["name"] for each in items] == ["other"]


async def refused(admin: Admin, path: str) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await admin.ask("GET", path)
    return caught.value.status, str(caught.value)


async def test_what_is_not_known_is_not_found_with_a_sentence(api: Admin) -> None:
    assert await refused(api, path(api, "speed")) == (404, f"HTTP 404: there is no metric speed of pools: use one of {', '.join(METRICS)}")
    code, said = await refused(api, path(api, "sessions", "nobody"))
    assert (code, '"nobody" not found' in said) == (404, True)
    await say(api, {"recommendedReplicas": None, "totalSlots": 0})
    for metric in ("recommended_replicas", "load_percent"):
        await eventually(lambda metric=metric: unknown(api, metric), f"{metric} isn't known")
    code, said = await refused(api, path(api, "sessions") + "?metricLabelSelector=a%3Db")
    assert (code, "leave out metric.selector" in said) == (400, True)
    assert (await refused(api, f"{API}/namespaces/{api.namespace}/pods/*/sessions"))[0] == 404


async def unknown(api: Admin, metric: str) -> bool:
    """By then: what was known a moment ago is told until the watch has brought the change."""
    try:
        await api.ask("GET", path(api, metric))
    except Refused as error:
        return error.status == 404 and "isn't known now" in str(error)
    return False


METRICS = ("recommended_replicas", "load_percent", "busy_slots", "queue_depth", "sessions")


# ---- past the API server

Ask = Callable[..., Any]


@pytest.fixture
async def ask(api: Admin, certificates: Path, port: int) -> Ask:
    """`ask(path, certificate, **headers)`: from the operator itself, the status and the document."""

    async def get(path: str, shown: tuple[Path, Path] | None, **headers: str) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=certificates / "ca.crt")
        if shown:
            context.load_cert_chain(*shown)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.get(f"https://127.0.0.1:{port}{path}", headers=named, server_hostname=HOST) as response:
                return response.status, await response.json()

    return get


async def test_a_user_without_rights_is_forbidden_by_the_api_server_and_past_it(api: Admin, ask: Ask, server: ApiServer) -> None:
    wanted = path(api, "sessions")
    code, answer = await ask(wanted, server.front_proxy, X_Remote_User="nobody")
    assert (code, answer["kind"], answer["reason"]) == (403, "Status", "Forbidden")
    assert answer["message"].startswith(f"nobody may not get {wanted}: ")
    code, answer = await ask(API, server.front_proxy, X_Remote_User="system:anonymous", X_Remote_Group="system:unauthenticated")
    assert code == 403, "what there is may be read by whoever has logged in"
    code, answer = await ask(wanted, server.front_proxy, X_Remote_User="root", X_Remote_Group="system:masters")
    assert (code, answer["items"][0]["value"]) == (200, "3")


async def test_rights_are_those_of_the_group_and_of_the_one_metric(api: Admin, ask: Ask, server: ApiServer) -> None:
    rule = {"apiGroups": ["custom.metrics.k8s.io"], "resources": ["snakepools.snakepit.dev/sessions"], "verbs": ["get"]}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.namespace}"
    version = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "readers"}}
    await api.ask("POST", f"{rbac}/roles", {**version, "kind": "Role", "rules": [rule]})
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
        "subjects": [{"kind": "Group", "name": "readers", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    await api.ask("POST", f"{rbac}/rolebindings", {**version, "kind": "RoleBinding", **binding})
    who = {"X_Remote_User": "ann", "X_Remote_Group": "readers"}

    async def may() -> bool:
        return bool((await ask(path(api, "sessions"), server.front_proxy, **who))[0] == 200)

    await eventually(may, "the role holds", 60)
    assert (await ask(path(api, "busy_slots"), server.front_proxy, **who))[0] == 403


async def test_who_is_not_the_api_server_is_not_believed(api: Admin, ask: Ask, server: ApiServer, tmp_path: Path) -> None:
    root = {"X_Remote_User": "root", "X_Remote_Group": "system:masters"}
    with pytest.raises((aiohttp.ClientError, OSError)):
        await ask(API, None, **root)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await ask(API, certificate(tmp_path, FRONT_PROXY), **root)
    code, answer = await ask(API, server.front_proxy)
    assert (code, answer["reason"]) == (401, "Unauthorized"), "it has not said for whom it asks"


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(range(256)) * 8])
async def test_who_says_nothing_or_nonsense_is_hung_up_and_keeps_nobody_out(api: Admin, port: int, said: bytes) -> None:
    strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    for _, writer in strangers:
        writer.write(said)
    assert await number(api, "sessions") == "3"
    for reader, writer in strangers:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                assert (await reader.read())[:2] in (b"", ALERT)
        writer.close()


ALERT = b"\x15\x03"
"""So begins a record in which TLS says why it ends."""
AUTHENTICATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


async def test_whom_it_believes_is_read_again(api: Admin, ask: Ask, server: ApiServer) -> None:
    names = "requestheader-allowed-names"
    who = {"X_Remote_User": "root", "X_Remote_Group": "system:masters"}

    async def answers(code: int) -> None:
        async def look() -> bool:
            return bool((await ask(API, server.front_proxy, **who))[0] == code)

        await eventually(look, f"the answer is {code}")

    await api.merge(AUTHENTICATION, {"data": {names: '["another"]'}})
    await answers(401)
    await api.merge(AUTHENTICATION, {"data": {names: "not JSON"}})
    await api.merge(AUTHENTICATION, {"data": {names: json.dumps([FRONT_PROXY])}})
    await answers(200)


async def test_a_new_certificate_is_shown_without_a_restart(api: Admin, certificates: Path, port: int, tmp_path_factory: Any) -> None:
    made, key = certificate(tmp_path_factory.mktemp("other"), HOST)
    (certificates / "tls.crt").write_bytes(made.read_bytes())
    (certificates / "tls.key").write_bytes(key.read_bytes())

    async def is_shown() -> bool:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) == made.read_text()

    await eventually(is_shown, "the new certificate is shown")


# ---- and what it is all for


@pytest.fixture
def autoscaling(server: ApiServer) -> Iterator[None]:
    server.autoscale()
    yield
    server.end_autoscaling()


async def test_an_hpa_by_the_documents_manifest_follows_the_recommendation_up_and_down(api: Admin, autoscaling: None) -> None:
    manifest = hpa("digits")
    manifest["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0
    await api.ask("POST", f"/apis/autoscaling/v2/namespaces/{api.namespace}/horizontalpodautoscalers", manifest)

    async def is_sized(wanted: int) -> bool:
        replicas = (await api.pool())["spec"]["replicas"]
        await say(api, {"replicas": replicas})  # as the operator would
        return bool(replicas == wanted)

    for recommended in (5, 2, 9, 1):
        await say(api, {"recommendedReplicas": recommended})
        await eventually(lambda wanted=recommended: is_sized(wanted), f"the pool has {recommended} capsules", 60)
