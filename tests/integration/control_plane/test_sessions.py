"""Sessions: how many there may be, what is said of them, and their state."""

import asyncio
import urllib.request

import pytest

import snakepit
from snakepit.errors import (
    InvalidArguments,
    SessionNotFound,
    SessionQuota,
)
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, session_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import Caller, calling, eventually, replica, rpc
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import payload


async def test_a_session_that_does_not_exist_is_not_found(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        with pytest.raises(SessionNotFound, match="'nobody'"):
            await caller.call("echo", session_id="nobody")
        await caller.create("nobody")
        assert (await caller.call("echo", session_id="nobody")).worker


async def test_a_deleted_session_is_not_found_and_its_worker_is_told(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        await caller.create("s")
        await caller.call("echo", session_id="s")
        request = session_pb2.DeleteSessionRequest(pool=POOL, session_id="s")
        assert (await rpc(caller.sessions.DeleteSession(request))).deleted
        assert not (await rpc(caller.sessions.DeleteSession(request))).deleted
        await eventually(lambda: any(frame.WhichOneof("kind") == "session_end" for frame in agent.frames))
        with pytest.raises(SessionNotFound):
            await caller.call("echo", session_id="s")


async def test_the_quota_of_sessions_is_refused_with_a_sentence(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=settings(session={"maxSessions": 1})):
        await caller.create("a")
        with pytest.raises(SessionQuota, match="maxSessions") as refused:
            await caller.create("b")
        assert (refused.value.details["limit"], refused.value.details["sessions"]) == ("session.maxSessions", "1")


async def test_a_namespace_has_no_more_sessions_than_it_may_whatever_pools_they_are_of() -> None:
    other = "default/other"
    async with replica(max_sessions_per_namespace=2) as server, calling(server.address) as caller:
        server.fleet.sync([settings(), settings(other), settings("elsewhere/test")], complete=True, drain=[])
        await caller.create("a")
        await caller.create("b", other)
        with pytest.raises(
            SessionQuota, match="the pools of namespace default have 2 sessions, maxSessionsPerNamespace allows 2"
        ) as refused:
            await caller.create("c")
        assert refused.value.details == {"limit": "maxSessionsPerNamespace", "sessions": "2"}
        assert not (await caller.create("a")).created, "one that is there is no new one"
        assert (await caller.create("c", "elsewhere/test")).created
        with await asyncio.to_thread(urllib.request.urlopen, f"http://{server.metrics_address}/metrics") as scraped:
            assert 'snakepit_namespace_sessions{namespace="default"} 2.0' in scraped.read().decode()
        await rpc(caller.sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="a")))
        await eventually(lambda: server.count.within("default") == 1, "they are counted again")
        assert (await caller.create("c")).created


async def test_sessions_are_listed_page_by_page_and_the_sdk_reads_all_pages(
    server: Running, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakepit.client.pool.PAGE", 3)
    async with simulated_agent(server.address), snakepit.Client(server.address) as client:
        names = [f"s{number}" for number in range(8)]
        await asyncio.gather(*(caller.create(name, metadata={"name": name}) for name in names))
        pages: list[list[str]] = []
        token = ""
        while token or not pages:
            page = await rpc(caller.sessions.ListSessions(session_pb2.ListSessionsRequest(pool=POOL, page_size=3, page_token=token)))
            pages.append([each.metadata["name"] for each in page.sessions])
            token = page.next_page_token
        assert pages == [names[:3], names[3:6], names[6:]]
        assert [each.id for each in await client.pool(POOL).sessions()] == names
        with pytest.raises(InvalidArguments, match="page_size -1 is negative"):
            await rpc(caller.sessions.ListSessions(session_pb2.ListSessionsRequest(pool=POOL, page_size=-1)))


@pytest.mark.parametrize("ttl", [-1, 3601, float("nan"), float("inf"), 1e300])
async def test_a_ttl_above_the_pools_or_no_ttl_at_all_is_refused_without_a_session(server: Running, caller: Caller, ttl: float) -> None:
    async with simulated_agent(server.address):
        with pytest.raises(InvalidArguments, match="ttl_seconds"):
            await caller.create("s", ttl_seconds=ttl)
        assert not (await rpc(caller.sessions.ListSessions(session_pb2.ListSessionsRequest(pool=POOL)))).sessions


async def test_metadata_of_sessions_is_bounded_and_so_is_a_page_of_them(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address), snakepit.Client(server.address) as client:
        with pytest.raises(InvalidArguments, match="metadata has 65538 bytes, 65536 is the most"):
            await caller.create("s", metadata={"kä": "x" * 65535})
        await asyncio.gather(*(caller.create(f"s{number:02}", metadata={"k": "x" * 60_000}) for number in range(40)))
        page = await rpc(caller.sessions.ListSessions(session_pb2.ListSessionsRequest(pool=POOL)))
        assert 10 < len(page.sessions) < 20
        assert page.next_page_token == page.sessions[-1].id
        assert [each.id for each in await client.pool(POOL).sessions()] == [f"s{number:02}" for number in range(40)]


class BrokenStore(MemoryStore):
    async def get_session(self, pool: str, session: str) -> SessionRecord:
        raise ZeroDivisionError("no one knew")


async def test_what_nobody_has_foreseen_is_internal_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with replica(BrokenStore()) as server, calling(server.address) as caller, simulated_agent(server.address):
        with pytest.raises(snakepit.SnakepitError, match="ZeroDivisionError: no one knew") as caught:
            await caller.session("s")
        assert caught.value.reason == "INTERNAL"
        assert "GetSession failed" in caplog.text


async def test_80_and_100_percent_of_the_sessions_are_announced_once_and_the_places_are_free_again(
    server: Running, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "maxSessions" in record.getMessage()]

    async with simulated_agent(server.address, settings=settings(session={"maxSessions": 20})):
        pool = server.flow.pools[POOL]
        for number in range(16):
            await caller.create(f"s{number}")
        for _ in range(3):
            await server.count.count(pool)
        assert told() == ["pool default/test has 16 of its 20 sessions (session.maxSessions): at 20 new ones are refused"]
        outcomes = await asyncio.gather(*(caller.create(f"t{number}") for number in range(30)), return_exceptions=True)
        assert sum(isinstance(each, SessionQuota) for each in outcomes) == 26
        assert told()[1:] == ["pool default/test has 20 of its 20 sessions (session.maxSessions): new ones are refused"]
        pools = (await rpc(caller.pools.ListPools(pool_pb2.ListPoolsRequest()))).pools
        assert [(each.sessions, each.sessions_mark) for each in pools] == [(20, 100)]
        for number in range(10):
            await rpc(caller.sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id=f"s{number}")))
        await server.count.count(pool)
        assert pool.mark.standing == 0
        assert len(told()) == 2
        await caller.create("free-again")


async def test_state_goes_through_in_both_forms_and_is_fenced(server: Running, caller: Caller) -> None:
    replies: list[link_pb2.StateReply] = []

    async def remember(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        replies.append(await agent.ask_state(call, set=link_pb2.StateRequest.Set(key="k", value=payload(41))))
        replies.append(await agent.ask_state(call, get=link_pb2.StateRequest.Get(key="k")))
        stale = link_pb2.Call()
        stale.CopyFrom(call)
        stale.session_epoch += 1
        replies.append(await agent.ask_state(stale, set=link_pb2.StateRequest.Set(key="k", value=payload(0))))
        return link_pb2.Result(payload=payload(None))

    async with simulated_agent(server.address, tools={"remember": remember}):
        await caller.create("s")
        await caller.call("remember", session_id="s")
        written, read, refused = replies
        assert (written.written, written.version) == (True, 1)
        assert (read.found, read.value.data) == (True, b"41")
        assert refused.error.reason == "STALE_EPOCH"
        request = session_pb2.GetStateRequest(pool=POOL, session_id="s", key="k")
        stored = await rpc(caller.sessions.GetState(request))
        assert (stored.value.json.number_value, stored.version) == (41, 1)


async def test_get_session_and_list_state_are_all_that_the_same_session_in_another_pool_is_made_of(server: Running, caller: Caller) -> None:
    here, there = {"pool": POOL, "session_id": "s"}, {"pool": "default/other", "session_id": "copy"}
    packed = common_pb2.Payload(content_type="application/msgpack", data=b"\xc4\x02\0\xff")
    large = {f"large {n}": common_pb2.Payload(content_type="application/msgpack", data=b"\xc6" + bytes(700_000)) for n in range(3)}
    state = {"bytes": packed, "empty": payload(None), "number": payload(2**60), **large}
    sessions = caller.sessions

    async def put(session: dict[str, str], key: str, value: common_pb2.Payload) -> None:
        await rpc(sessions.SetState(session_pb2.SetStateRequest(**session, key=key, value={"payload": value})))

    async def saved(session: dict[str, str]) -> tuple[session_pb2.Session, dict[str, common_pb2.Payload]]:
        found = (await rpc(sessions.GetSession(session_pb2.GetSessionRequest(**session)))).session
        request, values = session_pb2.ListStateRequest(**session, with_values=True, as_payload=True), {}
        while True:
            page = await rpc(sessions.ListState(request))
            assert page.ByteSize() < 2 * 1024 * 1024
            values |= {each.key: each.value.payload for each in page.keys}
            if not page.next_page_token:
                return found, values
            request.page_token = page.next_page_token

    other = simulated_agent(server.address, name="other-0", pool="default/other", settings=settings("default/other"))
    async with simulated_agent(server.address), other:
        await caller.create("s", ttl_seconds=77, metadata={"owner": "me"})
        for key, value in state.items():
            await put(here, key, value)
        exported, values = await saved(here)
        assert values == state
        await caller.create("copy", "default/other", ttl_seconds=exported.ttl_seconds, metadata=exported.metadata)
        for key, value in values.items():
            await put(there, key, value)
        copy, again = await saved(there)
        assert (copy.ttl_seconds, dict(copy.metadata), again) == (77, {"owner": "me"}, state)
        assert (await caller.call("echo", pool="default/other", session_id="copy")).worker == "other-0/0"


@pytest.mark.parametrize("key", ["", "k" * 257, "ö" * 129])
async def test_a_state_key_has_its_limits(server: Running, caller: Caller, key: str) -> None:
    async with simulated_agent(server.address):
        await caller.create("s")
        request = session_pb2.SetStateRequest(pool=POOL, session_id="s", key=key, value={"payload": payload(1)})
        with pytest.raises(InvalidArguments, match="1 to 256 bytes"):
            await rpc(caller.sessions.SetState(request))
