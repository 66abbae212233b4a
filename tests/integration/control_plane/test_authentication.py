"""A control plane that asks agents and the operator for tokens, with a real JWKS over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit._ipc.callers import read, written
from snakepit._wire.bulk import LaneBroken
from snakepit._wire.status import from_rpc_error
from snakepit._wire.token import Token
from snakepit.errors import CallerLimit, PermissionDenied, ServerUnavailable, SessionNotFound, SnakepitError, Unauthenticated
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2, pool_pb2, router_pb2, router_pb2_grpc, tool_pb2
from snakepit_control_plane.authentication import keys
from snakepit_control_plane.authentication.keys import fetch
from snakepit_control_plane.server import Running
from snakepit_operator.fleet import Fleet
from support.bare_client import bare_client
from support.capsules import capsule, spec
from support.control_plane import Caller, eventually, replica
from support.issuer import AUDIENCE, Issuer, operator_claims, pod_claims, signed
from support.simulated_agent import POOL, SimulatedAgent, settings
from support.tls import certificate, terminator


@pytest.fixture
def own_settings(signs: Issuer) -> dict[str, Any]:
    return {"authentication": signs.settings()}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    put(path, signed(pod_claims("test-0", POOL)))
    return path


def put(path: Path, token: str) -> None:
    """As the kubelet does it: the old one, or the new one, and never half of it."""
    new = path.with_suffix(".new")
    new.write_text(token)
    new.replace(path)


def an_agent(server: Running, token_file: Path | None, **options: object) -> SimulatedAgent:
    return SimulatedAgent(server.address, name="test-0", pod_uid="pod-uid", token_file=token_file, **options)  # type: ignore[arg-type]


async def refusal(agent: SimulatedAgent) -> SnakepitError:
    """Why its dials fail."""
    agent.dial()
    try:
        await eventually(lambda: agent.refused, "a dial is refused")
    finally:
        await agent.stop()
    assert agent.refused is not None
    return agent.refused


GROUPS = ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")


# ---- agents


async def test_an_agent_with_its_pods_token_serves_calls_and_streams_of_callers_with_theirs(server: Running, token_file: Path) -> None:
    agent = await an_agent(server, token_file).start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            caller = Caller(channel, web(1))
            assert await caller.call("echo", {"a": 1}) is not None
            assert len([each async for each in caller.stream("count", {"to": 3})]) >= 3
    finally:
        await agent.stop()


async def test_a_real_agent_serves_streams_and_large_payloads_with_its_token(server: Running, tmp_path: Path) -> None:
    """The token of its link is enough for the link's bulk lanes."""
    put(tmp_path / "token", signed(pod_claims("capsule-0", POOL)))
    put(tmp_path / "web", web(1))
    own = {"pool": POOL, "capsule": "capsule-0", "pod_uid": "pod-uid", "token_file": tmp_path / "token"}
    async with capsule(spec("support.sample:Sample"), server, **own), Client(server.address, token_file=tmp_path / "web") as client:
        pool = client.pool(POOL)
        await eventually(lambda: is_ready(server), "a worker is ready")
        assert [each async for each in pool.stream("count", {"to": 3}, timeout=20)] == [0, 1, 2]
        assert await pool.call("who", timeout=20) == ["system:serviceaccount:shop:web", list(GROUPS)]
        large = b"x" * 1_000_000
        assert await pool.call("echo", {"value": large}, timeout=20) == large


def is_ready(server: Running) -> bool:
    pool = server.flow.pools.get(POOL)
    return pool is not None and any(worker.state == pool_pb2.WORKER_STATE_READY for worker in pool.infos())


async def test_whoever_poses_as_a_capsule_is_refused_and_gets_no_lane(server: Running, token_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    put(other, signed(pod_claims("others-0", "default/others")))
    assert isinstance(await refusal(an_agent(server, None)), Unauthenticated)
    assert isinstance(await refusal(an_agent(server, other)), PermissionDenied)
    assert server.flow.pools == {}, "not even the settings of its hello are taken"
    assert server.lanes.tickets == {}


async def test_an_agents_token_is_read_again_when_it_dials_so_one_that_has_expired_is_replaced_in_time(
    server: Running, token_file: Path
) -> None:
    put(token_file, signed(pod_claims("test-0", POOL, exp=1)))
    agent = an_agent(server, token_file)
    agent.dial()
    try:
        await eventually(lambda: agent.refused, "the dial is refused")
        assert "has expired" in str(agent.refused)
        put(token_file, signed(pod_claims("test-0", POOL)))
        await eventually(agent.linked.is_set, "the next dial succeeds")
    finally:
        await agent.stop()


async def test_an_issuers_new_keys_are_fetched_when_a_token_needs_them(
    signs: Issuer, server: Running, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.1)
    agent = await an_agent(server, token_file).start()
    try:
        signs.keys = ["two"]
        put(token_file, signed(pod_claims("test-0", POOL), "two"))
        agent.linked.clear()
        agent.break_link()
        await eventually(agent.linked.is_set, "it links with a token of the new key")
    finally:
        await agent.stop()
    assert len(signs.asked) == 2


async def test_while_the_issuer_is_away_known_keys_go_on_and_a_replica_without_any_lets_agents_in_when_it_is_back(
    signs: Issuer, server: Running, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.1)
    signs.broken = True
    agent = an_agent(server, token_file)
    agent.dial()
    try:
        await eventually(lambda: agent.refused, "there are no keys yet")
        assert isinstance(agent.refused, ServerUnavailable)
        assert "tokens can't be checked now" in str(agent.refused)
        assert "503" in str(agent.refused)
        signs.broken = False
        await eventually(agent.linked.is_set, "the agent goes on dialling")
        signs.broken = True
        agent.linked.clear()
        agent.break_link()
        await eventually(agent.linked.is_set, "the keys are known by now")
    finally:
        await agent.stop()


async def test_an_agents_bulk_lane_is_for_calls_of_its_own_capsule_alone(server: Running, token_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    put(other, signed(pod_claims("others-0", "default/others", uid="others-uid")))
    agent = await an_agent(server, token_file).start()
    others = SimulatedAgent(
        server.address, name="others-0", pool="default/others", pod_uid="others-uid", token_file=other, settings=settings("default/others")
    )
    await others.start()
    calling = asyncio.create_task(Caller(grpc.aio.insecure_channel(server.address), web(1)).call("hang", timeout=20))
    try:
        await eventually(lambda: agent.calls, "a call runs")
        assert others.replica is not None
        assert others.replica.bulk is not None
        bulk = await others.replica.bulk.open(listens=True)
        await bulk.write(link_pb2.FromAgent(id=agent.calls[0].id, wants_arguments=True).SerializeToString())
        with pytest.raises(LaneBroken) as failure:
            await bulk.read()
        assert "of capsule others-0 is open here" in str(failure.value)
        bulk.cancel()
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await agent.stop()
        await others.stop()


# ---- the operator


async def test_only_the_operators_token_changes_pools(server: Running, token_file: Path, tmp_path: Path) -> None:
    await refused_sync(server, Token(), Unauthenticated)
    await refused_sync(server, Token(token_file), PermissionDenied)
    assert server.flow.pools == {}
    put(tmp_path / "operator", signed(operator_claims()))
    fleet = Fleet(server.address, lambda pool, essential: None, Token(tmp_path / "operator"))
    fleet.set_pools([settings()])
    running = asyncio.create_task(fleet.run())
    try:
        await eventually(lambda: POOL in server.flow.pools, "the operator's settings are taken")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def refused_sync(server: Running, token: Token, refused: type[SnakepitError]) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        rpc = fleet_pb2_grpc.FleetServiceStub(channel).Sync(metadata=token.metadata() or None)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await rpc.write(fleet_pb2.SyncRequest(pools=[settings()], complete=True))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await rpc.read()
        assert isinstance(from_rpc_error(failure.value), refused)


# ---- where keys come from


async def test_keys_come_over_https_with_our_token_and_only_from_whom_our_authority_signed(signs: Issuer, tmp_path: Path) -> None:
    own, strange = certificate(tmp_path), certificate(tmp_path, "127.0.0.2")
    ours = tmp_path / "ours"
    put(ours, signed({"iss": "https://ours.example"}))
    async with terminator(int(signs.url.split(":")[2].split("/")[0]), own) as port:
        wanted = signs.settings(keys=f"https://127.0.0.1:{port}/jwks", issuer="", token_file=str(ours), ca_file=str(own.certificate))
        issued = await asyncio.to_thread(fetch, wanted)
        assert (issued.issuer, issued.keys.keys()) == ("https://ours.example", {"one"})
        assert signs.asked == [f"Bearer {ours.read_text()}"]
        distrusted = signs.settings(keys=f"https://127.0.0.1:{port}/jwks", ca_file=str(strange.certificate))
        with pytest.raises(OSError, match="certificate"):
            await asyncio.to_thread(fetch, distrusted)


def test_a_redirect_is_not_followed(signs: Issuer) -> None:
    with pytest.raises(OSError, match="answers 302"):
        fetch(signs.settings(keys=signs.url.replace("/jwks", "/moved")))


def test_an_endless_answer_is_not_read_to_its_end(signs: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        fetch(signs.settings())


# ---- clients


def web(number: int) -> str:
    """A token of another pod of the same service account."""
    return signed(pod_claims(f"web-{number}", "shop/none", aud=[AUDIENCE], sub="system:serviceaccount:shop:web"))


async def test_clients_with_the_same_identity_take_turns_as_one_caller_whichever_way_they_come(
    server: Running, token_file: Path, tmp_path: Path
) -> None:
    limited = settings(call={"maxConcurrentPerCaller": 2})
    agent = await an_agent(server, token_file, settings=limited).start()
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    put(one, web(1))
    put(two, web(2))
    put(three, somebody("other"))
    try:
        async with (
            Client(server.address, token_file=one) as first,
            Client(server.address, token_file=two) as second,
            Client(server.address, token_file=three) as other,
        ):
            calls = [asyncio.create_task(each.pool(POOL).call("hang")) for each in (first, second)]
            await eventually(lambda: agent.running and server.flow.pools[POOL].queue.depth == 1)
            with pytest.raises(CallerLimit):
                await first.pool(POOL).call("echo")
            with pytest.raises(CallerLimit):
                await anext(second.pool(POOL).stream("count", {"to": 1}))
            async with grpc.aio.insecure_channel(server.address) as channel:
                request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await router_pb2_grpc.RouterServiceStub(channel).Execute(
                        request, timeout=5, metadata=[("authorization", f"Bearer {web(3)}")]
                    )
                assert isinstance(from_rpc_error(refused.value), CallerLimit)
            theirs = asyncio.create_task(other.pool(POOL).call("echo"))
            await eventually(lambda: server.flow.pools[POOL].queue.depth == 2)
            agent.let_go()
            await asyncio.gather(*calls, theirs)
            await eventually(lambda: len(server.flow.pools[POOL].callers) == 0)
    finally:
        await agent.stop()


async def test_whoever_calls_without_a_token_or_with_a_wrong_one_is_refused_whichever_way_it_comes(
    server: Running, token_file: Path, tmp_path: Path
) -> None:
    agent = await an_agent(server, token_file).start()
    wrong = signed(pod_claims("web-0", "shop/none", aud=["somebody.else"]))
    put(tmp_path / "wrong", wrong)
    try:
        for file, why in ((None, "sent no token"), (tmp_path / "wrong", "not for this control plane")):
            async with Client(server.address, token_file=file, connect_timeout=5) as client:
                with pytest.raises(Unauthenticated, match=why):
                    await client.pool(POOL).call("echo", timeout=5)
                with pytest.raises(Unauthenticated, match=why):
                    await client.pool(POOL).sessions()
        async with grpc.aio.insecure_channel(server.address) as channel:
            for token in ("", wrong):
                caller = Caller(channel, token)
                for asked in (
                    caller.call("echo", {}),
                    anext(aiter(caller.stream("count", {"to": 1}))),
                    caller.create("s"),
                    caller.session("s"),
                ):
                    with pytest.raises((Unauthenticated, grpc.aio.AioRpcError)) as refused:
                        await asked
                    assert isinstance(known(refused.value), Unauthenticated)
            for pools in (
                caller.pools.ListPools(pool_pb2.ListPoolsRequest()),
                caller.tools.ListTools(tool_pb2.ListToolsRequest(pool=POOL)),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await pools
                assert isinstance(from_rpc_error(failure.value), Unauthenticated)
        assert not agent.calls
    finally:
        await agent.stop()


def known(error: BaseException) -> BaseException:
    return from_rpc_error(error) if isinstance(error, grpc.RpcError) else error


def somebody(name: str) -> str:
    """A token of another service account."""
    return signed(pod_claims(f"{name}-0", "shop/none", aud=[AUDIENCE], sub=f"system:serviceaccount:shop:{name}"))


async def test_a_session_is_its_makers_and_for_everybody_else_there_is_none(server: Running, token_file: Path) -> None:
    agent = await an_agent(server, token_file).start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            ada, again, bob = Caller(channel, somebody("ada")), Caller(channel, somebody("ada")), Caller(channel, somebody("bob"))
            assert (await ada.create("mine")).created
            assert await again.call("echo", {"a": 1}, session_id="mine") is not None
            assert (await again.session("mine")).id == "mine"
            for asked in (bob.call("echo", {"a": 1}, session_id="mine"), bob.session("mine"), bob.create("mine"), bob.rebind("mine")):
                with pytest.raises(SessionNotFound):
                    await asked
            assert [each.id for each in await bob.listed()] == []
            assert [each.id for each in await ada.listed()] == ["mine"]
            assert not await bob.delete("mine")
            assert await ada.delete("mine")
            assert (await bob.create("mine")).created
    finally:
        await agent.stop()


async def test_whom_a_tool_sees_is_whom_the_replica_has_checked_whatever_a_client_writes(server: Running, token_file: Path) -> None:
    agent = await an_agent(server, token_file).start()
    try:
        async with bare_client(server.address, somebody("ada")) as client:
            lie = link_pb2.Caller(subject="system:admin", groups=["system:masters"])
            refused = client.call("echo", caller=lie)
            client.call("echo", metadata={"caller": "system:admin"}, identity=written("system:admin", ()))
            await eventually(lambda: agent.calls and refused in client.results, "one call arrives, and the other is refused")
            assert "may not impersonate users 'system:admin'" in client.results[refused].error.message
            assert read(agent.calls[0].identity) == ("system:serviceaccount:shop:ada", tuple(GROUPS))
    finally:
        await agent.stop()


async def test_where_nobody_is_asked_a_tool_sees_nobody_whatever_a_client_writes() -> None:
    async with replica() as server:
        agent = await SimulatedAgent(server.address).start()
        try:
            async with bare_client(server.address) as client:
                client.call("echo", caller=link_pb2.Caller(subject="system:admin"), identity=written("system:admin", ()))
                await eventually(lambda: agent.calls, "the call arrives")
                assert not agent.calls[0].HasField("caller")
                assert not agent.calls[0].identity
        finally:
            await agent.stop()
