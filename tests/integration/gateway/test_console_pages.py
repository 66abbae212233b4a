"""The console without a browser: what is sent with each page, and who is asked to sign in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_gateway.console import calls, shared
from support.control_plane import calling, replica
from support.eventually import eventually
from support.gateway import gateway
from support.simulated_agent import POOL, settings, simulated_agent
from support.simulated_tools import payload


async def test_a_page_may_load_and_send_nothing_that_is_not_from_here(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert "There is no pool that you may see" in page.text
    policy = dict(each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert page.headers["cache-control"] == "no-store"
    assert "<style" not in page.text
    assert ' style="' not in page.text
    assert "<script>" not in page.text


async def test_what_is_not_there_is_said_on_a_page_with_the_errors_own_status(http: httpx.AsyncClient) -> None:
    page = await http.get("/pools/default/none")
    assert page.status_code == 404
    assert "POOL_NOT_FOUND" in page.text
    assert "refresh" not in page.headers


async def test_a_page_of_which_nobody_could_say_anything_yet_is_asked_for_again_by_the_browser() -> None:
    async with replica(told=False) as server, gateway(server.address) as http:
        page = await http.get("/")
        assert (page.status_code, page.headers.get("refresh")) == (503, "5")
        assert "POOL_NOT_READY" in page.text
        changed = await http.post("/pools/default/x/worker/drain?id=x/0")
        assert (changed.status_code, changed.headers.get("refresh")) == (503, None), "what changes something is not done again"


@pytest.mark.parametrize("path", ["/pools/default/x/worker/drain?id=x/0", "/sign-out"])
async def test_a_form_of_a_page_of_another_site_is_refused(http: httpx.AsyncClient, path: str) -> None:
    for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert (await http.post(path, headers=headers)).status_code == 403


async def test_after_signing_in_one_is_shown_a_page_of_ours(http: httpx.AsyncClient) -> None:
    for to in ("//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)"):
        assert 'name="to" value="/"' in (await http.get("/sign-in", params={"to": to})).text
    assert 'name="to" value="/pools/default/digits"' in (await http.get("/sign-in", params={"to": "/pools/default/digits"})).text


async def test_a_pool_that_promises_something_shows_what_is_left_of_its_budgets(server: Running, http: httpx.AsyncClient) -> None:
    promised = settings(slo={"availabilityPercent": 50, "latencyMilliseconds": 60_000})
    async with simulated_agent(server.address, settings=promised), calling(server.address) as caller:
        for _ in range(2):
            await caller.call("echo")
        assert "budget 100 %" in (await http.get("/")).text
        page = " ".join((await http.get(f"/pools/{POOL}")).text.split())
        assert "<dt>Budget left, availability</dt><dd>100 %" in page
        assert "<dt>Budget left, latency</dt><dd>-<span" in page, "of so few calls nothing is said"


async def test_a_pool_that_promises_nothing_shows_no_budget(server: Running, http: httpx.AsyncClient) -> None:
    async with simulated_agent(server.address):
        await eventually(lambda: server.flow.pools)
        assert "budget" not in (await http.get("/")).text
        assert "Budget" not in (await http.get(f"/pools/{POOL}")).text


async def test_calls_of_all_pools_are_on_one_page_and_an_id_leads_to_its_call_and_what_that_has_called(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with (
        simulated_agent(server.address) as agent,
        simulated_agent(server.address, name="other-0", pool="shop/other"),
        calling(server.address) as caller,
    ):
        await eventually(lambda: len(server.flow.pools) == 2)
        outer = asyncio.create_task(caller.call("hang"))
        await eventually(lambda: agent.calls)
        assert agent.replica is not None
        inner = link_pb2.Call(id=agent.replica.link.next_id(), call_id="inner", pool="shop/other", tool="echo", arguments=payload({}))
        agent.send(nested_call=link_pb2.NestedCall(parent=agent.calls[0].id, call=inner))
        await eventually(lambda: any(each.result.id == inner.id for each in agent.frames))
        agent.let_go()
        await outer
        page = (await http.get("/calls")).text
        id_ = agent.calls[0].call_id
        assert f'href="/pools/shop/other/call?id={inner.call_id}"' in page
        assert f'href="/pools/{POOL}/call?id={id_}"' in page
        assert inner.call_id not in (await http.get("/calls", params={"tool": "hang"})).text
        found = await http.get("/calls", params={"id": inner.call_id})
        assert (found.status_code, found.headers["location"]) == (303, f"/pools/shop/other/call?id={inner.call_id}")
        assert f'href="/calls?id={id_}"' in (await http.get(found.headers["location"])).text, "who called it may be of another pool"
        made = (await http.get(f"/pools/{POOL}/call", params={"id": id_})).text.partition("Calls that it made")[2]
        assert f'href="/pools/shop/other/call?id={inner.call_id}"' in made
        assert made.count("/call?id=") == 1, "no other one"
        missing = await http.get("/calls", params={"id": "nobodys"})
        assert (missing.status_code, "CALL_NOT_FOUND" in missing.text) == (404, True)


async def test_the_page_of_a_call_that_has_ended_seldom_has_a_replica_look_through_its_records(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with simulated_agent(server.address) as agent, calling(server.address) as caller:
        await caller.call("echo")
        page, query = f"/pools/{POOL}/call", {"id": agent.calls[0].call_id}
        records, looks = list(server.flow.pools[POOL].records or ()), list[str]()

        class Watched(list[Any]):
            def __iter__(self) -> Iterator[Any]:
                looks.append("at each")
                return super().__iter__()

        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now))
        monkeypatch.setattr(server.flow.pools[POOL], "records", Watched(records))
        assert "echo" in (await http.get(page, params=query)).text
        once = len(looks)
        assert once >= 2, "for the call, and for those that it has made"
        for clock.now in (1.0, 5.0, shared.SETTLED_SECONDS - 0.1):
            assert "echo" in (await http.get(page, params=query)).text
        assert len(looks) == once
        clock.now = shared.SETTLED_SECONDS
        assert "echo" in (await http.get(page, params=query)).text
        assert len(looks) == 2 * once


@pytest.mark.parametrize(("last_lines_seconds", "asked"), [(3600.0, 3), (0.0, 1)], ids=["just ended", "ended a while ago"])
async def test_the_lines_of_a_call_that_has_ended_are_asked_for_each_second_only_while_some_may_come(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, last_lines_seconds: float, asked: int
) -> None:
    clock, requests = SimpleNamespace(now=0.0), list[str]()
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(calls, "LAST_LINES_SECONDS", last_lines_seconds)
    async with simulated_agent(server.address) as agent, calling(server.address) as caller:

        def tell(request: link_pb2.LogLinesRequest) -> None:
            requests.append(request.call_id)
            agent.tell_nothing(request)

        agent.on_log_lines = tell
        await caller.call("echo")
        id_ = agent.calls[0].call_id
        for clock.now in (0.0, 1.0, 2.0):
            assert "echo" in (await http.get(f"/pools/{POOL}/call", params={"id": id_})).text
        assert requests == [id_] * asked


async def test_a_pool_says_on_which_nodes_it_is_and_how_many_of_their_workers_serve(server: Running, http: httpx.AsyncClient) -> None:
    async with (
        simulated_agent(server.address, name="a-0", node="node-1", workers=2),
        simulated_agent(server.address, name="a-1", node="node-<2>") as agent,
    ):
        await eventually(lambda: POOL in server.flow.pools and len(server.flow.pools[POOL].workers) == 3)
        page = (await http.get(f"/pools/{POOL}")).text
        assert '<p class="node" title="Its node">node-&lt;2&gt;</p>' in page
        first, second = page.partition('id="nodes"')[2].split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:2]
        assert "node-1" in first
        assert "node-&lt;2&gt;" in second
        worker = (await http.get(f"/pools/{POOL}/worker", params={"id": f"{agent.name}/0"})).text
        assert '<dt>Node</dt><dd class="small">node-&lt;2&gt;</dd>' in worker


async def test_a_session_says_why_it_was_bound_anew(server: Running, http: httpx.AsyncClient) -> None:
    async with simulated_agent(server.address, workers=2) as agent, calling(server.address) as caller:
        await caller.create("s")
        before = await caller.call("echo", session_id="s")
        page = f"/pools/{POOL}/session"
        assert "Why it moved" not in (await http.get(page, params={"id": "s"})).text
        agent.replace_worker(before.worker, "OOMKilled")
        await eventually(lambda: server.flow.pools[POOL].find(before.worker, before.incarnation) is None)
        await caller.call("echo", session_id="s")

        async def moves() -> str:
            return (await http.get(page, params={"id": "s"})).text.partition("Why it moved")[2].split("</table>")[0]

        told = await eventually(moves, "it is looked at again")
        assert "its worker was out of memory" in told
        assert f">{before.worker}<" in told
