"""What KEDA calls, by the stubs of its own proto, of an operator that doesn't lead; statuses are written as the leader does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from snakepit_operator import external_scaler as scaler_module
from snakepit_operator.external_scaler import ExternalScaler
from snakepit_operator.externalscaler import externalscaler_pb2 as pb
from snakepit_operator.externalscaler.externalscaler_pb2_grpc import ExternalScalerStub
from snakepit_operator.kube import Kube
from snakepit_operator.pools import Pools
from support.admin import Admin
from support.eventually import eventually
from support.gate import Gate
from support.tasks import task

SOON = 10.0


class Asking:
    """A KEDA that asks about pools of the test's namespace."""

    def __init__(self, admin: Admin, stub: Any) -> None:
        self.admin, self.stub = admin, stub

    def ref(self, **metadata: str) -> pb.ScaledObjectRef:
        trigger = {"scalerAddress": "snakepit-keda.snakepit-system:7805", "pool": "digits", **metadata}
        return pb.ScaledObjectRef(name="digits", namespace=self.admin.namespace, scalerMetadata=trigger)

    async def active(self) -> bool:
        return bool((await self.stub.IsActive(self.ref(), timeout=SOON)).result)

    async def value(self, metric: str = "recommended_replicas") -> float:
        request = pb.GetMetricsRequest(scaledObjectRef=self.ref(), metricName=metric)
        (found,) = (await self.stub.GetMetrics(request, timeout=SOON)).metricValues
        assert (found.metricName, float(found.metricValue)) == (metric, found.metricValueFloat)
        return float(found.metricValueFloat)

    async def say(self, **status: Any) -> None:
        await self.admin.merge(self.admin.pools_path("digits") + "/status", {"status": status})

    async def refusal(self, asked: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        return caught.value.code(), caught.value.details() or ""


@contextlib.asynccontextmanager
async def serving(pools: Pools) -> AsyncIterator[ExternalScaler]:
    scaler = ExternalScaler(pools, "127.0.0.1:0")
    async with task(pools.run()), task(scaler.run()):
        await eventually(lambda: at(scaler), "it serves")
        yield scaler


async def at(scaler: ExternalScaler) -> bool:
    return not scaler.address.endswith(":0")


@pytest.fixture
async def scaler(admin: Admin, kube: Kube) -> AsyncIterator[ExternalScaler]:
    async with serving(Pools(kube, (admin.namespace,))) as made:
        yield made


@pytest.fixture
async def keda(admin: Admin, scaler: ExternalScaler) -> AsyncIterator[Asking]:
    async with grpc.aio.insecure_channel(scaler.address) as channel:
        yield Asking(admin, ExternalScalerStub(channel))


async def told(stream: Any) -> bool:
    async with asyncio.timeout(SOON):
        return bool((await stream.read()).result)


async def watching(keda: Asking) -> None:
    """Until the watch stands: what is said after something was read is seen at once."""
    depths = itertools.count(1)

    async def follows() -> bool:
        depth = next(depths)
        await depth_or_none(keda)
        await keda.say(queueDepth=depth)
        await asyncio.sleep(0.1)
        return await depth_or_none(keda) == depth

    await eventually(follows, "the watch sees a change")


async def depth_or_none(keda: Asking) -> float | None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        return await keda.value("queue_depth")
    return None


async def test_keda_is_told_what_a_pool_needs_and_whether_it_is_in_use(admin: Admin, keda: Asking) -> None:
    await admin.make_pool(replicas=0)
    await keda.say(recommendedReplicas=1, inUse=False, queueDepth=0, totalSlots=0)
    (spec,) = (await keda.stub.GetMetricSpec(keda.ref(), timeout=SOON)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("recommended_replicas", 1, 1.0)
    (spec,) = (await keda.stub.GetMetricSpec(keda.ref(metric="queue_depth", target="2.5"), timeout=SOON)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("queue_depth", 3, 2.5)
    assert not await keda.active()
    assert (await keda.value(), await keda.value("queue_depth")) == (1.0, 0.0)
    await watching(keda)
    await keda.say(recommendedReplicas=7, inUse=True)
    await eventually(keda.active, "it is in use")
    assert await keda.value() == 7.0


async def test_a_pool_that_comes_into_use_is_told_at_once_and_again_while_it_has_no_capsule(
    admin: Admin, keda: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KEDA passes over what it is told before its autoscaler is made, and would know nothing before it asks next."""
    monkeypatch.setattr(scaler_module, "AGAIN_SECONDS", 0.05)
    await admin.make_pool(replicas=0)
    await keda.say(inUse=False, queueDepth=0)
    await watching(keda)
    stream = keda.stub.StreamIsActive(keda.ref())
    assert not await told(stream)
    await keda.say(inUse=True)
    assert [await told(stream) for _ in range(3)] == [True] * 3
    await admin.edit(replicas=1)
    await keda.say(inUse=False)
    async with asyncio.timeout(SOON):
        while await told(stream):
            pass
    silence = asyncio.create_task(stream.read())
    for depth in range(100, 110):
        await keda.say(queueDepth=depth)
    await eventually(lambda: reaches(keda, 109), "the scaler has seen the counts")
    assert not silence.done(), "a count is no news"
    await keda.say(inUse=True)
    async with asyncio.timeout(SOON):
        assert (await silence).result
    stream.cancel()


async def reaches(keda: Asking, depth: int) -> bool:
    return await keda.value("queue_depth") == depth


async def test_what_is_wrong_is_said_in_a_sentence_by_every_method_whose_refusal_keda_shows(admin: Admin, keda: Asking) -> None:
    stub = keda.stub
    no_pool = keda.ref(pool="nobody")
    methods = (
        lambda ref: stub.IsActive(ref),
        lambda ref: stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref)),
        lambda ref: stub.StreamIsActive(ref).read(),
    )
    for method in methods:
        code, sentence = await keda.refusal(method(no_pool))
        assert (code, sentence.split(":")[0]) == (grpc.StatusCode.NOT_FOUND, f"there is no SnakePool {admin.namespace}/nobody")
        code, sentence = await keda.refusal(method(pb.ScaledObjectRef(namespace="elsewhere", scalerMetadata={"pool": "digits"})))
        assert code is grpc.StatusCode.NOT_FOUND
        assert sentence.startswith(f"this release looks after SnakePools in {admin.namespace} only, not in elsewhere")
        code, sentence = await keda.refusal(method(pb.ScaledObjectRef(namespace=admin.namespace)))
        assert (code, sentence.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "metadata.pool is missing")
    await admin.make_pool(autoscaling={"maxReplicas": 3})
    for method in methods:
        code, sentence = await keda.refusal(method(keda.ref()))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "spec.autoscaling" in sentence
    for wrong in (no_pool, pb.ScaledObjectRef(namespace=admin.namespace), keda.ref()):
        assert (await stub.GetMetricSpec(wrong)).metricSpecs[0].metricName == "recommended_replicas"
    code, sentence = await keda.refusal(stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=keda.ref(), metricName="cpu")))
    assert (code, sentence.split(",")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "metadata.metric: there is no 'cpu' of pools")
    assert (await keda.refusal(stub.StreamMetricSpec(keda.ref()).read()))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_what_nobody_knows_is_no_answer_and_leaves_a_stream_open(admin: Admin, keda: Asking) -> None:
    await admin.make_pool(replicas=0)
    assert (await keda.refusal(keda.active()))[0] is grpc.StatusCode.UNAVAILABLE
    assert (await keda.refusal(keda.value()))[0] is grpc.StatusCode.UNAVAILABLE
    stream = keda.stub.StreamIsActive(keda.ref())
    first = asyncio.create_task(stream.read())
    await keda.say(queueDepth=0)
    await watching(keda)
    assert not first.done()
    await keda.say(inUse=True)
    async with asyncio.timeout(SOON):
        assert (await first).result
    stream.cancel()


async def test_an_api_server_that_is_away_is_no_pool_that_has_gone(admin: Admin, keda: Asking, door: Gate) -> None:
    await admin.make_pool(replicas=0)
    await keda.say(inUse=True)
    await door.shut()
    code, sentence = await keda.refusal(keda.active())
    assert code is grpc.StatusCode.UNAVAILABLE
    assert sentence.startswith(f"the operator can't read SnakePool {admin.namespace}/digits: the API server doesn't answer")
    stream = keda.stub.StreamIsActive(keda.ref())
    first = asyncio.create_task(stream.read())
    await door.open()
    await eventually(keda.active, "it is heard again")
    await keda.say(inUse=False)
    await keda.say(inUse=True)
    async with asyncio.timeout(SOON):
        await first
    stream.cancel()


async def test_streams_are_so_many_and_end_without_an_error_with_the_operator(
    admin: Admin, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaler_module, "STREAMS", 2)
    await admin.make_pool(replicas=1)
    async with contextlib.AsyncExitStack() as closing:
        async with serving(Pools(kube, (admin.namespace,))) as scaler:
            channel = await closing.enter_async_context(grpc.aio.insecure_channel(scaler.address))
            keda = Asking(admin, ExternalScalerStub(channel))
            await keda.say(inUse=True)
            streams = [keda.stub.StreamIsActive(keda.ref()) for _ in range(2)]
            assert [await told(each) for each in streams] == [True, True]
            code, sentence = await keda.refusal(keda.stub.StreamIsActive(keda.ref()).read())
            assert (code, sentence.split(":")[0]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "2 triggers of type external-push listen already")
            streams.pop().cancel()
            await eventually(lambda: another(keda, streams), "the place of one that has gone is free")
        async with asyncio.timeout(SOON):
            for each in streams:
                assert await each.read() is grpc.aio.EOF
                assert await each.code() is grpc.StatusCode.OK


async def another(keda: Asking, streams: list[Any]) -> bool:
    stream = keda.stub.StreamIsActive(keda.ref())
    with contextlib.suppress(grpc.aio.AioRpcError):
        await told(stream)
        streams.append(stream)
        return True
    return False


async def test_a_port_that_is_taken_is_said_with_its_setting(kube: Kube, scaler: ExternalScaler) -> None:
    with pytest.raises(OSError, match="SNAKEPIT_KEDA_LISTEN"):
        await ExternalScaler(Pools(kube, ()), scaler.address).start()
