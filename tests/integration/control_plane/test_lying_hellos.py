"""A namespace is a boundary: an agent with a token of its own, which is right, lies in its hello, field by field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from snakepit._wire.protocol import NEWEST
from snakepit._wire.status import from_rpc_error
from snakepit.errors import InvalidArguments, PermissionDenied, PoolNotFound, SnakepitError
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.server import Running
from support.control_plane import PATIENCE_SECONDS, Caller
from support.issuer import Issuer, pod_claims, signed
from support.simulated_agent import OBSERVER_TOKEN, SimulatedAgent, settings

MINE, VICTIM = "evil/mine", "prod/victim"


@pytest.fixture
def own_settings(signs: Issuer) -> dict[str, Any]:
    return {"authentication": signs.settings()}


@pytest.fixture
async def victim(server: Running, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimulatedAgent]:
    """The operator has told of both pools; one has a capsule."""
    server.fleet.sync([settings(VICTIM, generation=3), settings(MINE, generation=3, uid="uid-mine")], complete=True, drain=[])
    token = tmp_path_factory.mktemp("victim") / "token"
    token.write_text(signed(pod_claims("victim-0", VICTIM, "uid-of-victim-0")))
    agent = SimulatedAgent(server.address, name="victim-0", pod_uid="uid-of-victim-0", pool=VICTIM, token_file=token)
    agent.settings = settings(VICTIM, generation=3)
    try:
        yield await agent.start()
    finally:
        await agent.stop()


def hello() -> link_pb2.Hello:
    """An honest one of the attacker's."""
    about = link_pb2.Capsule(
        name="mine-0", incarnation="mine", pool=MINE, pod_uid="pod-uid", settings=settings(MINE, generation=3, uid="uid-mine")
    )
    return link_pb2.Hello(protocol=NEWEST, role=link_pb2.ROLE_AGENT, version="1", capsule=about)


async def say(server: Running, said: link_pb2.Hello, token: str = "") -> SnakepitError | None:
    """Why it is refused; None: it is welcome."""
    token = token or signed(pod_claims("mine-0", MINE))
    async with grpc.aio.insecure_channel(server.address) as channel:
        link = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=[("authorization", f"Bearer {token}")])
        try:
            await link.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=said)]))
            answer = await link.read()
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
        assert answer.frames[0].HasField("welcome")
        link.cancel()
    return None


Lie = Callable[[link_pb2.Hello, SimulatedAgent], object]

LIES: dict[str, tuple[Lie, type[SnakepitError], str]] = {
    "the pool": (lambda said, _: setattr(said.capsule, "pool", VICTIM), PermissionDenied, "says it is of pool prod/victim"),
    "a pool without a namespace": (lambda said, _: setattr(said.capsule, "pool", "evil"), PermissionDenied, "says it is of pool evil"),
    "the name": (lambda said, _: setattr(said.capsule, "name", "victim-0"), PermissionDenied, "has the token of pod"),
    "the pod's uid": (lambda said, _: setattr(said.capsule, "pod_uid", "uid-of-victim-0"), PermissionDenied, "has the token of pod"),
    "the life": (lambda said, its: setattr(said.capsule, "incarnation", its.incarnation), PermissionDenied, "that of another capsule"),
    "no life": (lambda said, _: setattr(said.capsule, "incarnation", ""), InvalidArguments, "hello.capsule.incarnation of"),
    "the settings' pool": (lambda said, _: setattr(said.capsule.settings, "pool", VICTIM), InvalidArguments, "they must be the same"),
    "both pools": (lambda said, _: said.capsule.MergeFrom(victims()), PermissionDenied, "says it is of pool prod/victim"),
    "settings of no pool": (lambda said, _: setattr(said.capsule.settings, "pool", ""), InvalidArguments, "they must be the same"),
    "deleted": (
        lambda said, _: setattr(said.capsule.settings, "deleted", True),
        InvalidArguments,
        "only the operator deletes pool evil/mine",
    ),
    "the victim's pool, deleted": (lambda said, _: said.capsule.MergeFrom(deleted()), InvalidArguments, "they must be the same"),
}


def victims() -> link_pb2.Capsule:
    return link_pb2.Capsule(pool=VICTIM, settings=settings(VICTIM, generation=99))


def deleted() -> link_pb2.Capsule:
    return link_pb2.Capsule(settings=link_pb2.PoolSettings(pool=VICTIM, uid="uid-1", generation=99, deleted=True))


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_in_a_hello_is_refused_with_one_sentence_and_costs_the_victim_nothing(
    server: Running, victim: SimulatedAgent, lie: str
) -> None:
    change, expected, sentence = LIES[lie]
    said = hello()
    change(said, victim)
    refusal = await say(server, said)
    assert type(refusal) is expected
    assert sentence in refusal.message
    assert "\n" not in refusal.message
    await nothing_has_changed(server, victim)


async def nothing_has_changed(server: Running, victim: SimulatedAgent) -> None:
    pools = server.flow.pools
    assert {name: pool.settings.generation for name, pool in pools.items()} == {VICTIM: 3, MINE: 3}
    assert [each.incarnation for each in pools[VICTIM].capsules.values()] == [victim.incarnation]
    assert pools[MINE].capsules == {}
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert (await Caller(channel, OBSERVER_TOKEN).call("echo", pool=VICTIM)).worker == "victim-0/0"
    assert len(victim.calls) == 1


@pytest.mark.parametrize(
    "claimed",
    [
        settings(MINE, generation=99, uid="uid-mine", queue={"maxSize": 1}),
        settings(MINE, generation=3, uid="uid-mine", queue={"maxSize": 1}),
    ],
    ids=["newer", "of the same generation"],
)
async def test_settings_of_an_agent_override_neither_the_operators_nor_the_stores(
    server: Running, victim: SimulatedAgent, claimed: link_pb2.PoolSettings
) -> None:
    told = server.flow.pools[MINE].settings
    said = hello()
    said.capsule.settings.CopyFrom(claimed)
    assert await say(server, said) is None
    assert server.flow.pools[MINE].settings == told
    server.fleet.sync([last := settings("prod/last")], complete=False, drain=[])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while last not in (stored := await server.store.load_pools()):  # In the order in which they were taken.
            await asyncio.sleep(0.01)
    assert told in stored


async def test_an_agent_of_a_pool_that_was_deleted_and_made_again_is_refused_while_the_operator_listens(
    server: Running, victim: SimulatedAgent
) -> None:
    said = hello()
    said.capsule.settings.uid = "before"
    with server.fleet.roster.listening():
        refusal = await say(server, said)
    assert isinstance(refusal, PoolNotFound)
    assert "has been deleted" in refusal.message


async def test_a_capsule_that_is_alive_is_not_taken_over_with_the_token_of_an_earlier_pod_of_its_name(
    server: Running, victim: SimulatedAgent
) -> None:
    said = hello()
    said.capsule.CopyFrom(link_pb2.Capsule(name="victim-0", incarnation="mine", pool=VICTIM, pod_uid="uid-of-an-earlier-pod"))
    refusal = await say(server, said, signed(pod_claims("victim-0", VICTIM, "uid-of-an-earlier-pod")))
    assert isinstance(refusal, PermissionDenied)
    assert "is linked and alive" in refusal.message
    await nothing_has_changed(server, victim)


async def test_a_name_without_a_namespace_is_no_pool_even_with_a_token_for_it(server: Running, victim: SimulatedAgent) -> None:
    """It would get the calls of whoever leaves out `default/`."""
    said = hello()
    said.capsule.pool = said.capsule.settings.pool = "evil"
    refusal = await say(server, said, signed(pod_claims("mine-0", "evil")))
    assert isinstance(refusal, InvalidArguments)
    assert "must be namespace/name" in refusal.message
