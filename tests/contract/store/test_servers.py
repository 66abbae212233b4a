"""Redis in its other shapes: behind TLS, under Sentinels, as a Cluster; and who takes over when a primary goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from snakepit.errors import StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store import connection
from snakepit_control_plane.store.connection import Away, connect
from snakepit_control_plane.store.interface import Store
from snakepit_control_plane.store.urls import parse_store_url
from support.eventually import eventually
from support.gate import Gate
from support.redis_server import (
    LOGIN,
    RedisCluster,
    RedisServer,
    admit,
    cluster_rights,
    redis_cluster,
    redis_server,
    rights,
    sentinel_world,
)
from support.redis_tls import tls_cluster, tls_sentinel_world, tls_server
from support.stored import POOL, until, wanted
from support.tls import certificate, terminator


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = make_store(url)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def writes(store: Store, pool: str = POOL) -> int:
    """Write once; the new version. A store that is away says so soon."""
    started = time.monotonic()
    try:
        return (await store.set_state(pool, "s", "k", common_pb2.Payload(data=b"1"), None, SessionSpec(), None)).version
    except StoreUnavailable:
        assert time.monotonic() - started < 4
        raise


async def test_tls_is_spoken_and_the_certificate_is_checked_against_the_given_ca(tmp_path: Path) -> None:
    own, other = certificate(tmp_path), certificate(tmp_path, "127.0.0.2")
    with redis_server() as server:
        async with terminator(server.port, own) as port:
            async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={own.certificate}") as store:
                await until(store, ready=True, seconds=20)
                assert (await store.create_session(wanted(), 10))[1]
            async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other.certificate}") as store:
                assert "certificate" in store.problem.lower()
            async with opened(f"rediss://127.0.0.1:{port}/0") as store:
                assert "certificate" in store.problem.lower()


@asynccontextmanager
async def behind_tls(folder: Path) -> AsyncIterator[tuple[Gate, str]]:
    """A server to which all goes through the gate, and its URL."""
    own = certificate(folder)
    with redis_server() as server:
        async with terminator(server.port, own) as port:
            gate = Gate(port)
            await gate.open()
            try:
                yield gate, f"rediss://127.0.0.1:{gate.port}/0?ssl_ca_certs={own.certificate}"
            finally:
                await gate.shut()


async def test_a_server_that_does_not_answer_the_end_of_tls_keeps_nobody_from_closing(tmp_path: Path) -> None:
    async with behind_tls(tmp_path) as (gate, url), opened(url) as store:
        await until(store, ready=True)
        gate.swallow()


async def test_a_server_that_fell_silent_behind_tls_is_found_again_however_many_connections_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 6.0)  # A busy machine's.
    async with behind_tls(tmp_path) as (gate, url):
        way = connect(parse_store_url(url))
        await asyncio.gather(way.run([("PING",)]), way.run([("PING",)]))
        gate.swallow()
        with pytest.raises(Away):
            await way.prepare([], afresh=True)
        await gate.open()
        assert not await way.prepare([], afresh=True)
        await way.close()


async def test_a_sentinel_that_refuses_to_say_who_serves_leaves_no_operation_without_an_answer() -> None:
    with sentinel_world() as world:
        (sentinel,) = world.sentinels
        async with opened(world.url) as store:
            await until(store, ready=True)
            sentinel.command("ACL", "SETUSER", "default", "-sentinel")
            world.primary.command("CLIENT", "KILL", "TYPE", "normal")
            async with asyncio.timeout(20):
                while "no permissions" not in store.problem:
                    with contextlib.suppress(StoreUnavailable):
                        await store.create_session(wanted(), 10)
                    await asyncio.sleep(0.02)
            sentinel.command("ACL", "SETUSER", "default", "+@all")
            await until(store, ready=True, seconds=20)


@pytest.mark.parametrize("who", ["redis", "terminator"])
async def test_a_client_certificate_is_shown_where_it_is_asked_for(tmp_path: Path, who: str) -> None:
    own = certificate(tmp_path)
    async with AsyncExitStack() as stack:
        if who == "redis":
            server: RedisServer = stack.enter_context(tls_server(own))
            port = server.known_port
        else:
            server = stack.enter_context(redis_server())
            port = await stack.enter_async_context(terminator(server.port, own, asks=True))
        admit(server, rights())
        secure = f"rediss://{LOGIN}127.0.0.1:{port}/0?ssl_ca_certs={own.certificate}"
        async with opened(f"{secure}&ssl_certfile={own.certificate}&ssl_keyfile={own.key}") as store:
            await until(store, ready=True, seconds=20)
            assert (await store.create_session(wanted(), 10))[1]
        async with opened(secure) as store:
            assert store.problem  # in TLS 1.3 the server just hangs up


@pytest.mark.usefixtures("patient")
async def test_a_cluster_is_used_over_tls(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    with tls_cluster(own) as nodes:
        for node in nodes:
            admit(node, cluster_rights())
        url = f"rediss+cluster://{LOGIN}{','.join(node.secure_address for node in nodes)}?ssl_ca_certs={own.certificate}"
        async with opened(f"{url}&ssl_certfile={own.certificate}&ssl_keyfile={own.key}") as store:
            await until(store, ready=True, seconds=20)
            pools = [f"default/p{number}" for number in range(12)]
            await asyncio.gather(*(store.create_session(wanted(pool=pool), 10) for pool in pools))
            assert await asyncio.gather(*(writes(store, pool) for pool in pools)) == [1] * len(pools)


async def test_sentinels_and_the_master_that_they_name_are_used_over_tls(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    with tls_sentinel_world(own) as (world, sentinel):
        url = f"rediss+sentinel://{sentinel.secure_address}/main/0?ssl_ca_certs={own.certificate}"
        async with opened(f"{url}&ssl_certfile={own.certificate}&ssl_keyfile={own.key}") as store:
            await until(store, ready=True, seconds=20)
            await store.create_session(wanted(), 10)
            assert await writes(store) == 1
            await eventually(world.in_step)
            world.primary.kill()
            with pytest.raises(StoreUnavailable):
                await writes(store)
            await until(store, ready=True, seconds=20)
            assert await writes(store) == 2


async def test_a_wrong_password_and_missing_rights_are_told(tmp_path: Path) -> None:
    with redis_server() as server:
        server.command("ACL", "SETUSER", "pit", "on", ">right", "~other:*", "+@all")
        for login, told in (("pit:wrong", "invalid username-password"), ("pit:right", "no permissions|NOPERM|access")):
            async with opened(f"redis://{login}@{server.address}/0") as store:
                assert store.problem
                with pytest.raises(StoreUnavailable, match=told):
                    await store.create_session(wanted(), 10)


@pytest.mark.usefixtures("patient")
async def test_a_sentinels_fail_over_is_followed_and_the_scripts_are_loaded_there() -> None:
    with sentinel_world("redis") as world:
        async with opened(world.url) as store:
            assert not store.problem
            await store.create_session(wanted(), 10)
            version = await writes(store)
            await eventually(world.in_step)
            world.primary.kill()
            with pytest.raises(StoreUnavailable):
                await writes(store)
            await until(store, ready=True, seconds=20)
            assert world.names(world.replica)
            assert await writes(store) == version + 1
            assert (await store.get_session(POOL, "s")).uid == "uid"


@pytest.mark.usefixtures("patient")
async def test_a_primary_that_was_replaced_is_left_though_it_still_answers_as_one() -> None:
    with sentinel_world("valkey") as world:
        async with opened(world.url) as store:
            await store.create_session(wanted(), 10)
            await eventually(world.in_step)
            world.fail_over()
            await eventually(lambda: world.names(world.replica))

            async def written_there() -> bool:
                try:
                    await writes(store)
                except StoreUnavailable:
                    await until(store, ready=True, seconds=20)
                return b"k" in world.replica.command("HKEYS", f"snakepit:{{{POOL}}}:state:s")

            async with asyncio.timeout(20):
                while not await written_there():
                    await asyncio.sleep(0.02)


async def test_absent_sentinels_are_told_and_waited_for() -> None:
    async with opened("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main/0") as store:
        assert "main" in store.problem


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with redis_cluster("redis", replicas=1) as running:
        yield running


async def test_one_url_for_the_wrong_kind_of_server_says_which_is_right(cluster: RedisCluster) -> None:
    async with opened(cluster.nodes[2].url) as store:
        assert "redis+cluster://" in store.problem or "redis+cluster://" in await _told(store)
    with redis_server() as alone:
        async with opened(f"redis+cluster://{alone.address}") as store:
            assert store.problem


@pytest.mark.usefixtures("patient")
async def test_in_a_cluster_pools_are_spread_and_a_replica_takes_over_for_a_killed_primary(cluster: RedisCluster) -> None:
    async with opened(cluster.url) as store:
        assert not store.problem
        pools = [f"default/p{number}" for number in range(12)]
        await asyncio.gather(*(store.create_session(wanted(pool=pool), 10) for pool in pools))
        keys = [int(node.command("DBSIZE").decode().strip()[1:]) for node in cluster.nodes]
        assert all(keys), keys
        replica = cluster.replicas[0]
        await eventually(lambda: replica.command("DBSIZE") == cluster.nodes[0].command("DBSIZE"))
        cluster.nodes[0].kill()  # and it stays away: the last test that uses this cluster
        await eventually(lambda: b"role:master" in replica.command("INFO", "replication"))
        versions: list[int] = []
        async with asyncio.timeout(20):
            while len(versions) < len(pools):
                try:
                    versions.append(await writes(store, pools[len(versions)]))
                except StoreUnavailable:
                    await until(store, ready=True, seconds=20)
        assert set(versions) <= {1, 2}


async def _told(store: Store) -> str:
    for number in range(12):
        try:
            await store.create_session(wanted(pool=f"default/p{number}"), 10)
        except StoreUnavailable as error:
            return error.message
    return ""
