"""The console before a control plane that asks who its callers are, and what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from snakepit._telemetry.log_lines import LogLine, encode
from snakepit.v1 import link_pb2
from snakepit_control_plane.policy.rights import (
    CALL,
    CANCEL_CALL,
    DELETE_SESSION,
    LIST_CALLS,
    LIST_SESSIONS,
    LOOK,
    MAINTAIN,
    READ_CALL,
    READ_LOGS,
    READ_SESSION,
)
from snakepit_control_plane.server import Running
from snakepit_gateway.console import desk, viewer
from support.callers import ADA, BOB, GATEWAY, put, token
from support.control_plane import calling, eventually
from support.gateway import served
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

PAGE = f"/pools/{POOL}"


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def browser(
    server: Running, agent: SimulatedAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's cookies, and no header; the gateway has a token of its own, and no right."""
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(put(tmp_path / "gateway", token(GATEWAY))))
    async with served(server.address) as url, httpx.AsyncClient(base_url=url, timeout=20, headers={"origin": url}) as made:
        yield made


async def sign_in(browser: httpx.AsyncClient, subject: str) -> httpx.Response:
    return await browser.post("/sign-in", data={"token": token(subject), "to": PAGE})


async def test_nobody_sees_anything_without_a_token_and_a_wrong_one_is_told_apart(browser: httpx.AsyncClient) -> None:
    for path in ("/", PAGE, f"{PAGE}/calls"):
        answer = await browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?to=")
    assert (await browser.post(f"{PAGE}/worker/drain?id=test-0/0")).headers["location"] == "/sign-in"
    refused = await browser.post("/sign-in", data={"token": "x" * 40})
    assert refused.status_code == 401
    assert not browser.cookies
    assert "That is no token" in (await browser.post("/sign-in", data={"token": "two words"})).text


async def test_a_token_is_typed_once_and_kept_where_no_script_reads_it_until_signing_out(
    browser: httpx.AsyncClient, asks: Reviewer
) -> None:
    asks.give(ADA, LOOK)
    answer = await sign_in(browser, ADA)
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = await browser.get(PAGE)
    assert page.status_code == 200
    assert ADA in page.text
    assert (await browser.post("/sign-out")).status_code == 303
    assert (await browser.get(PAGE)).status_code == 303


async def test_who_may_only_look_is_offered_nothing_else_and_refused_it_anyway(
    browser: httpx.AsyncClient, server: Running, agent: SimulatedAgent, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "RIGHTS_SECONDS", 1.0)
    asks.give(ADA, LOOK, LIST_SESSIONS, LIST_CALLS, READ_CALL)
    asks.give(BOB, CALL)
    async with calling(server.address) as bob:
        bob.metadata = (("authorization", f"Bearer {token(BOB)}"),)
        await bob.create("bobs")
        hanging = bob.start("hang")
        await eventually(lambda: len(agent.running) == 1)
        await sign_in(browser, ADA)
        worker = next(iter(server.flow.pools[POOL].workers))
        page = (await browser.get(f"{PAGE}/worker", params={"id": worker})).text
        assert "Read-only" in page
        assert "Drain" not in page
        assert f"kubectl logs -n {POOL.partition('/')[0]} {worker.rpartition('/')[0]} -c worker<" in page
        assert "Read-only" in (await browser.get(f"{PAGE}/tool", params={"name": "echo"})).text
        assert "bobs" in (await browser.get(f"{PAGE}/sessions")).text
        calls = (await browser.get(f"{PAGE}/calls")).text
        assert BOB in calls
        call = calls.split("/call?id=")[1].split('"')[0]
        page = (await browser.get(f"{PAGE}/call", params={"id": call})).text
        assert "Cancel" not in page
        assert f"-c worker | grep {call}" in page
        assert "You may not <code>get pods/log</code> in default" in page
        for path, query in {
            "worker/drain": {"id": worker},
            "worker/recycle": {"id": worker},
            "call/cancel": {"id": call},
            "session/rebind": {"id": "bobs"},
            "session/delete": {"id": "bobs"},
        }.items():
            answer = await browser.post(f"{PAGE}/{path}", params=query)
            assert answer.status_code == 403, path
            assert "PERMISSION_DENIED" in answer.text
        tried = await browser.post(f"{PAGE}/tool", params={"name": "echo"}, data={})
        assert "PERMISSION_DENIED" in tried.text
        asks.give(ADA, MAINTAIN, CANCEL_CALL, DELETE_SESSION, READ_SESSION)
        server.door.access.forget()
        await eventually(lambda: offered(browser, f"{PAGE}/worker", worker, "Drain"), "her rights are looked at again")
        assert "Cancel" in (await browser.get(f"{PAGE}/call", params={"id": call})).text
        assert (await browser.post(f"{PAGE}/call/cancel", params={"id": call})).headers["location"].endswith("done=cancelled")
        assert (await browser.post(f"{PAGE}/session/delete", params={"id": "bobs"})).status_code == 303
        hanging.cancel()


async def test_log_lines_are_shown_to_whoever_may_read_them_with_kubectl(
    browser: httpx.AsyncClient, server: Running, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, LOOK, READ_LOGS)
    said = {"tool": "fit", "message": "<b>no</b>", "exception": "at <2>"}
    line = LogLine(time="2026-11-30T01:02:03.004Z", level="error", component="worker", worker=f"{agent.name}/0", **said)
    whose: list[str] = []

    def tell(request: link_pb2.LogLinesRequest) -> None:
        whose.append(request.worker)
        none = link_pb2.LogLinesReply(id=request.id, problem="it keeps none")
        agent.send(log_lines_reply=link_pb2.LogLinesReply(id=request.id, lines=[encode(line).decode()]) if agent.tells_log_lines else none)

    agent.on_log_lines = tell
    await sign_in(browser, ADA)
    page = (await browser.get(f"{PAGE}/worker", params={"id": f"{agent.name}/0"})).text
    assert '01:02:03.004</time> <b>error</b> <span class="of">fit</span>' in page
    assert "&lt;b&gt;no&lt;/b&gt;<br>at &lt;2&gt;" in page
    page = (await browser.get(f"{PAGE}/worker", params={"id": f"{agent.name}/0", "log": "capsule"})).text
    assert '<span class="of">0 fit</span>' in page, "of which worker"
    assert whose == [f"{agent.name}/0", ""]
    agent.tells_log_lines = False
    assert "It keeps none." in (await browser.get(f"{PAGE}/worker", params={"id": f"{agent.name}/1"})).text
    gone = (await browser.get(f"{PAGE}/worker", params={"id": "gone-0/0"})).text
    assert "No capsule &#39;gone-0&#39; of pool" in gone


async def offered(browser: httpx.AsyncClient, path: str, id_: str, what: str) -> bool:
    return what in (await browser.get(path, params={"id": id_})).text


async def test_two_people_see_each_their_own(browser: httpx.AsyncClient, server: Running, asks: Reviewer) -> None:
    for who in (ADA, BOB):
        asks.give(who, CALL, LOOK)
        async with calling(server.address) as caller:
            caller.metadata = (("authorization", f"Bearer {token(who)}"),)
            await caller.create(f"of-{who[-3:]}")
            await caller.call("echo")
    for who, other in ((ADA, "of-bob"), (BOB, "of-ada")):
        await sign_in(browser, who)
        page = (await browser.get(f"{PAGE}/sessions")).text
        assert f"of-{who[-3:]}" in page
        assert other not in page
        mine = (await browser.get(f"{PAGE}/session", params={"id": f"of-{who[-3:]}"})).text
        assert "Rebind" in mine
        assert (await browser.get(f"{PAGE}/session", params={"id": other})).status_code == 404
        assert "Your own calls only" in (await browser.get(f"{PAGE}/calls")).text


async def test_a_stranger_who_watches_takes_nobodys_place(
    browser: httpx.AsyncClient, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MOST_WATCHING", 1)
    asks.give(ADA, LOOK)
    for headers in ({}, {"cookie": f"{desk.COOKIE}=wrong"}):
        async with browser.stream("GET", PAGE, params={"live": "1"}, headers=headers) as strange, aclosing(strange.aiter_text()) as told:
            assert "Sign in" in await anext(told)
            await sign_in(browser, ADA)
            async with browser.stream("GET", PAGE, params={"live": "2"}) as answer, aclosing(answer.aiter_text()) as events:
                assert 'id="state"' in await anext(events)
        browser.cookies.clear()


async def test_who_gives_a_token_back_is_shown_nothing_more_by_a_stream_that_is_open(
    browser: httpx.AsyncClient, server: Running, asks: Reviewer
) -> None:
    asks.give(ADA, LOOK)
    await sign_in(browser, ADA)
    async with browser.stream("GET", PAGE, params={"live": "1"}) as answer, aclosing(answer.aiter_text()) as events:
        assert "state" in await anext(events)
        asks.take(ADA, LOOK)
        server.door.access.forget()
        async with asyncio.timeout(20):
            while "may not" not in await anext(events):
                pass
