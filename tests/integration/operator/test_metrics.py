"""What an operator says to Prometheus, whether it leads or not: of itself, of what it asks the API server for, and of pools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from snakepit_operator.kube import Kube
from snakepit_operator.main import Operator
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from snakepit_operator.telemetry import Telemetry
from support.admin import Admin
from support.api_server import SYSTEM
from support.eventually import eventually
from support.gate import Gate
from support.metrics import Scrape, answered, scrape
from support.otlp import receiving
from support.ports import free_port

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/snakepit-operator"
END_SECONDS = 20.0
REQUESTS = "snakepit_operator_api_requests_total"


@pytest.fixture(autouse=True)
async def lease(admin: Admin) -> None:
    """Nobody's."""
    await admin.ask("PUT", LEASE, {**await admin.ask("GET", LEASE), "spec": {}})


@asynccontextmanager
async def operator(admin: Admin, door: Gate, name: str) -> AsyncIterator[str]:
    """One that leads if nobody does: where it is scraped."""
    address = f"127.0.0.1:{free_port()}"
    settings = Settings(
        namespace=SYSTEM,
        identity=name,
        agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1"),
        watch_namespaces=(admin.namespace,),
        health=f"127.0.0.1:{free_port()}",
        metrics=address,
    )
    telemetry, stop = Telemetry(), asyncio.Event()
    kube = await Kube.connect(telemetry.requested)
    running = asyncio.create_task(Operator(kube, settings, telemetry).run(stop))
    try:
        yield address
    finally:
        stop.set()
        async with asyncio.timeout(END_SECONDS):
            await running
        await kube.close()


async def leads(address: str) -> bool:
    found: Scrape | None = await answered(address)
    return found is not None and found["snakepit_operator_leader", {}] == 1


async def seen(address: str, look: Callable[[Scrape], object], what: str) -> Scrape:
    """The scrape in which it is so."""

    async def found() -> Scrape | None:
        scraped = await scrape(address)
        return scraped if look(scraped) else None

    return await eventually(found, what)


async def test_the_leader_says_what_it_does_and_what_pools_are_and_who_waits_only_that_it_waits(admin: Admin, door: Gate) -> None:
    async with operator(admin, door, "first") as first:
        await eventually(lambda: leads(first), "the first one leads")
        async with operator(admin, door, "second") as second:
            await admin.make_pool(replicas=2)
            pool = f"{admin.namespace}/digits"
            both = {"pool": pool, "state": "all"}
            found = await seen(first, lambda each: each.total("snakepit_pool_capsules", **both) == 2, "two capsules are told")
            assert found["snakepit_pool_desired_capsules", {"pool": pool}] == 2
            assert found["snakepit_pool_capsules", {"pool": pool, "state": "ready"}] == 0
            assert found.total("snakepit_pool_condition", pool=pool, type="Ready") == 1, "one status of a condition is so"
            assert {dict(each)["status"] for each in found.series("snakepit_pool_condition", pool=pool)} == {"True", "False", "Unknown"}
            assert found["snakepit_operator_planned_actions_total", {"action": "create"}] >= 2
            assert found["snakepit_operator_reconciles_total", {"outcome": "ok"}] >= 1
            assert found.total("snakepit_operator_reconcile_duration_seconds_count") == found.total("snakepit_operator_reconciles_total")
            assert found["snakepit_operator_queue_depth", {}] >= 0
            for verb, resource, code in (("create", "pods", "201"), ("patch", "snakepools/status", "200"), ("list", "pods", "200")):
                assert found.total(REQUESTS, verb=verb, resource=resource, code=code) >= 1, (verb, resource)
                assert found.total("snakepit_operator_api_request_duration_seconds_count", verb=verb, resource=resource) >= 1

            waiting = await scrape(second)
            assert waiting["snakepit_operator_leader", {}] == 0
            assert waiting.total(REQUESTS, verb="get", resource="leases", code="200") >= 1
            assert not waiting.series("snakepit_pool_capsules")
            assert waiting.labels("snakepit_build_info", "component") == {"operator"}


async def test_of_a_pool_that_is_gone_nothing_is_said_any_more(admin: Admin, door: Gate) -> None:
    async with operator(admin, door, "first") as first:
        await eventually(lambda: leads(first), "it leads")
        await admin.make_pool(replicas=1)
        await seen(first, lambda each: each.series("snakepit_pool_condition"), "the pool is told")
        await admin.ask("DELETE", f"/apis/snakepit.dev/v1alpha1/namespaces/{admin.namespace}/snakepools/digits")
        await seen(first, lambda each: not each.series("snakepit_pool_condition"), "it isn't any more")


async def test_requests_that_get_no_answer_are_counted_without_a_code(admin: Admin, door: Gate) -> None:
    async with operator(admin, door, "first") as first:
        await eventually(lambda: leads(first), "it leads")
        await door.shut()
        await seen(first, lambda each: each.series(REQUESTS, code="none"), "a request failed")
        await door.open()
        await eventually(lambda: leads(first), "it leads again")


async def test_the_same_is_pushed_over_otlp(admin: Admin, door: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        async with operator(admin, door, "first"):
            requests = "snakepit-operator", "snakepit_operator_api_requests_total"
            await eventually(lambda: requests in collector.metrics.metrics, "its requests are pushed")


async def test_what_kopf_asks_for_itself_is_counted_too(admin: Admin, door: Gate) -> None:
    async with operator(admin, door, "first") as first:
        await eventually(lambda: leads(first), "it leads")
        watches = {"verb": "watch", "code": "200"}
        for resource in ("snakepools", "pods"):
            await seen(first, lambda each, of=resource: each.series(REQUESTS, resource=of, **watches), f"{resource} are watched")
        found = await seen(first, lambda each: each.series(REQUESTS, resource="discovery"), "it has looked what there is")
        assert found.total("snakepit_operator_api_request_duration_seconds_count", verb="watch", resource="pods") >= 1
        assert found.labels(REQUESTS, "verb") <= {"get", "list", "watch", "create", "update", "patch", "delete"}
        await door.shut()
        await seen(first, lambda each: each.series(REQUESTS, verb="watch", code="none"), "a watch that gets no answer")
        await door.open()
