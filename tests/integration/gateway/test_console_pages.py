"""The console without a browser: what is sent with each page, and who is asked to sign in."""

from __future__ import annotations

import httpx
import pytest

from snakepit_control_plane.server import Running
from support.control_plane import calling
from support.eventually import eventually
from support.simulated_agent import POOL, settings, simulated_agent


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
