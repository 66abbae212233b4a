"""The console on the cluster as a person has it: Chromium, a token that is typed, and workers in pods."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.browsers import chromium
from support.cluster_gateway import POOL, PORT, address, decisions
from support.incluster import call_token, workers
from support.kube import HERMETIC, eventually, kubectl

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not HERMETIC, reason="whether the cluster's Services can be reached from here isn't known"),
]

SHOWN_SECONDS = 2.0
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def context(browser: Browser, gateway: str) -> Iterator[BrowserContext]:
    """Browsers don't know the release's authority, and a person says that they trust it."""
    made = browser.new_context(base_url=f"https://{address()}:{PORT}", ignore_https_errors=True)
    made.set_default_timeout(20_000)
    yield made
    made.close()


def signed_in(context: BrowserContext, token: str, path: str) -> Page:
    """A page that asks for a token first."""
    page = context.new_page()
    page.goto(path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    return page


@pytest.fixture
def page(context: BrowserContext, namespace: str) -> Page:
    """The pool's page, of somebody who may do everything there."""
    return signed_in(context, call_token("default", namespace), f"/pools/{namespace}/{POOL}")


@pytest.fixture
def looks(namespace: str) -> Iterator[str]:
    """The token of an account that may only look."""
    kubectl("create", "serviceaccount", "only-looks", "-n", namespace)
    viewer = ("--clusterrole=snakepit-viewer", f"--serviceaccount={namespace}:only-looks")
    kubectl("create", "rolebinding", "only-looks", "-n", namespace, *viewer)
    yield call_token("only-looks", namespace)
    kubectl("delete", "rolebinding/only-looks", "serviceaccount/only-looks", "-n", namespace)


def test_a_killed_worker_is_shown_dead_and_healed_without_a_reload(page: Page, namespace: str) -> None:
    """The pod says when it was: kubectl's own way there is none of the page's."""
    expect(page.locator("#legend")).to_contain_text("4 idle")
    page.evaluate("window.loaded = 1")
    times = []
    for victim in workers(POOL, namespace=namespace)[:3]:
        capsule, _, index = str(victim["id"]).rpartition("/")
        card = page.locator(".capsule", has_text=capsule).locator(".worker", has_text=f"Worker {index}")
        command = f"date +%s.%N; kill -9 {victim['pid']}"
        killed = float(kubectl("exec", capsule, "-n", namespace, "-c", "worker", "--", "sh", "-c", command))
        expect(card).to_contain_text("signal 9")
        expect(card).to_contain_text("idle")
        times.append(time.time() - killed)
        expect(page.locator("#restarts tr", has_text=str(victim["id"]))).to_contain_text("signal 9")
    print("shown dead and healed after", ", ".join(f"{each:.2f} s" for each in times))
    assert min(times) <= SHOWN_SECONDS  # The machine may be busy with other things once or twice.
    assert page.evaluate("window.loaded") == 1


def test_a_tool_is_tried_a_stream_watched_and_their_calls_are_found(page: Page, namespace: str) -> None:
    page.get_by_role("link", name="Tools").click()
    page.get_by_role("link", name="weigh", exact=True).click()
    page.get_by_label("value").fill("heavy")
    page.get_by_role("button", name="Call weigh").click()
    expect(page.locator("#out")).to_have_text("5")
    page.goto(f"/pools/{namespace}/{POOL}/tool?name=count")
    page.get_by_label("to").fill("20")
    page.get_by_role("button", name="Call count").click()
    expect(page.locator("#out li")).to_have_count(20)
    expect(page.locator("#verdict")).to_contain_text("done in")
    page.goto(f"/pools/{namespace}/{POOL}/calls")
    page.get_by_label("Tool", exact=True).fill("count")
    page.get_by_label("Tool", exact=True).press("Enter")
    rows = page.locator("#calls tbody tr")
    expect(rows.filter(has_text="count").first).to_contain_text(f"system:serviceaccount:{namespace}:default")
    expect(rows.filter(has_text="weigh")).to_have_count(0)
    rows.filter(has_text="count").first.get_by_role("link").first.click()
    expect(page.locator("#call .way")).to_contain_text("answered")


def test_a_worker_is_drained_after_being_asked_twice_and_the_audit_log_says_by_whom(page: Page, namespace: str) -> None:
    worker = workers(POOL, namespace=namespace)[0]
    page.goto(f"/pools/{namespace}/{POOL}/worker?id={worker['id']}")
    page.get_by_role("button", name="Drain …").click()
    page.get_by_role("button", name="Drain it").click()
    expect(page.get_by_role("status").filter(has_text="being drained")).to_be_visible()

    def replaced() -> bool:
        now = [each for each in workers(POOL, namespace=namespace) if each["id"] == worker["id"]]
        return [each["state"] for each in now if each["incarnation"] != worker["incarnation"]] == ["ready"]

    eventually(replaced, "a fresh worker took its place")
    who, on = f"system:serviceaccount:{namespace}:default", f"{namespace}/{POOL}"
    deed = {"subject": who, "right": "update snakepools/workers", "pool": on, "allowed": True}
    eventually(lambda: any(deed.items() <= each.items() for each in decisions()), "it is in a replica's audit log", timeout=20)


def test_who_may_only_look_is_offered_nothing_else_and_is_refused_it_anyway(context: BrowserContext, looks: str, namespace: str) -> None:
    worker = workers(POOL, namespace=namespace)[0]
    page = signed_in(context, looks, f"/pools/{namespace}/{POOL}/worker?id={worker['id']}")
    expect(page.locator("main")).to_contain_text("Read-only")
    expect(page.get_by_role("button", name="Drain …")).to_have_count(0)
    where = f"{page.url.partition('?')[0]}/drain?id={worker['id']}"
    refused = page.evaluate("async where => { const a = await fetch(where, {method: 'POST'}); return [a.status, await a.text()] }", where)
    assert refused[0] == 403
    assert "PERMISSION_DENIED" in refused[1]
