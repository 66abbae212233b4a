"""The console without a browser: what is sent with each page, and who is asked to sign in."""

from __future__ import annotations

import httpx
import pytest


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
