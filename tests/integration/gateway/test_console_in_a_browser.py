"""The console as a person has it: Chromium before `snakepit dev`, whose pool has real workers.

SNAKEPIT_SCREENSHOTS=FOLDER keeps a picture of each page there (docs/console.md shows them: `make pictures`).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

import snakepit.sync
from snakepit.errors import SnakepitError, ToolError
from support.browsers import chromium
from support.console_tools import MARKUP
from support.dev_server import Dev, dev, pool_file, wait_until
from support.ports import free_port

POOL = "/pools/default/bench"
SESSION = "user:ada/1"
PAGES = {
    "pools": "/",
    "pool": POOL,
    "tools": f"{POOL}/tools",
    "tool": f"{POOL}/tool?name=fit",
    "calls": f"{POOL}/calls",
    "all calls": "/calls",
    "call": f"{POOL}/call?id=",
    "sessions": f"{POOL}/sessions",
    "session": f"{POOL}/session?id={SESSION}&key=topic",
    "worker": f"{POOL}/worker?id=",
    "spec": f"{POOL}/spec",
    "sign-in": "/sign-in",
    "failed": "/pools/default/none",
}
PICTURES = ("pools", "pool", "tool", "calls", "call", "session")
SHOWN_SECONDS = 2.0
MOST_SHIFTED = 0.1
"""The sum of layout shifts up to which Web Vitals call a page good."""
COUNT_SHIFTS = """
window.shifted = 0;
new PerformanceObserver(list => list.getEntries().forEach(each => { window.shifted += each.value; }))
  .observe({type: "layout-shift", buffered: true});
"""
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("console")
    files = [
        pool_file(folder, "bench", "support.console_tools:Bench", worker="processes: 3", replicas="1"),
        pool_file(folder, "sick", "support.console_tools:Sick", replicas="1"),
    ]
    with dev(*files, "--gateway", f"127.0.0.1:{free_port()}", SNAKEPIT_NODE="node-a") as running:
        running.says("pool default/bench: 3 ready workers")
        running.says("pool default/sick: a worker can't start")
        with snakepit.sync.Client(running.server) as client:
            pool = client.pool("bench")
            for at in range(30):
                pool.call("add", {"a": at})
            with pytest.raises(ToolError):
                pool.call("fail", {"message": MARKUP})
            with pool.session(SESSION) as session:
                session.call("keep", {"key": "topic", "value": MARKUP})
        yield running


@pytest.fixture
def client(program: Dev) -> Iterator[snakepit.sync.Client]:
    with snakepit.sync.Client(program.server) as made:
        yield made


@pytest.fixture
def context(browser: Browser, program: Dev) -> Iterator[BrowserContext]:
    made = browser.new_context(base_url=program.gateway, viewport={"width": 1200, "height": 800})
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def page(context: BrowserContext, said: list[str]) -> Iterator[Page]:
    """Whatever a browser complains of, such as a breach of the content security policy, fails the test."""
    made = context.new_page()
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("dialog", lambda dialog: said.append(dialog.message))
    yield made
    assert [each for each in said if "404 (Not Found)" not in each] == []


def busy(client: snakepit.sync.Client) -> None:
    """Calls without end, for a picture with some life in it."""
    with contextlib.suppress(SnakepitError):
        while True:
            client.pool("bench").call("fit", {"steps": random.randint(1, 20)})


def scene(client: snakepit.sync.Client) -> None:
    """For pictures: a session that has moved, a call that has logged something, and a pool with much to do."""
    pool = client.pool("bench")
    with pool.session(SESSION) as session:
        session.call("keep", {"key": "topic", "value": "whales"})
        bound = session.info().incarnation
        os.kill(next(each.pid for each in pool.workers() if each.incarnation == bound), signal.SIGKILL)
        wait_until(lambda: bound not in {each.incarnation for each in pool.workers()}, "the worker is a new one")
        wait_until(lambda: all(each.state == "ready" for each in pool.workers()), "all workers are ready")
        session.call("keep", {"key": "topic", "value": "whales, and what they eat"})
    for _ in range(5):
        threading.Thread(target=busy, args=(client,), daemon=True).start()


def address(name: str, client: snakepit.sync.Client) -> str:
    """Of a page; of one call's and one worker's, those of the last."""
    pool = client.pool("bench")
    which = {"call": lambda: pool.calls(tool="keep")[0].id, "worker": lambda: pool.workers()[0].id}
    return PAGES[name] + (which[name]() if name in which else "")


def test_a_killed_worker_is_shown_dead_and_healed_without_a_reload(page: Page, client: snakepit.sync.Client) -> None:
    page.add_init_script(COUNT_SHIFTS)
    page.goto(POOL)
    page.evaluate("window.loaded = 1")
    expect(page.locator("#legend")).to_contain_text("3 idle")
    expect(page.locator("#nodes tr", has_text="node-a")).to_contain_text("3 / 3")
    times = []
    for victim in client.pool("bench").workers():
        card = page.locator(".worker", has_text=f"Worker {victim.id.rpartition('/')[2]}")
        killed = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        expect(card).to_contain_text("signal 9", timeout=20_000)
        expect(card).to_contain_text("idle", timeout=20_000)
        times.append(time.monotonic() - killed)
        expect(page.locator("#restarts tr", has_text=victim.id)).to_contain_text("signal 9")
    print("shown dead and healed after", ", ".join(f"{each:.2f} s" for each in times))
    assert min(times) <= SHOWN_SECONDS  # The machine may be busy with other tests once or twice.
    assert page.evaluate("window.loaded") == 1
    assert page.evaluate("window.shifted") <= MOST_SHIFTED, "what is read stays where it is"


def test_a_pool_that_is_sick_says_why_and_what_its_author_did(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#summary")).to_contain_text("1 of 2 pools needs a look")
    expect(page.locator("#pools")).to_contain_text("SetupFailed: FileNotFoundError: there is no model at /models/small")
    page.get_by_role("link", name="default/sick").click()
    expect(page.locator("#wrong")).to_contain_text("there is no model")
    page.get_by_text("Traceback of").click()
    expect(page.locator("#trouble_of_workers pre")).to_contain_text("raise FileNotFoundError(")
    page.wait_for_timeout(1500)
    expect(page.locator("#trouble_of_workers pre")).to_be_visible()


def test_a_tool_is_tried_with_progress_its_result_and_its_failure_as_they_come(page: Page) -> None:
    page.goto(f"{POOL}/tool?name=fit")
    page.get_by_label("steps").fill("12")
    page.get_by_label("model").select_option("large")
    page.get_by_role("button", name="Call fit").press("Enter")
    expect(page.locator("#progress")).to_contain_text("of 12")
    expect(page.locator("#verdict")).to_contain_text("running")
    expect(page.locator("#verdict")).to_contain_text("done in")
    expect(page.locator("#out")).to_contain_text('"loss": 0.25')
    page.get_by_label("steps").fill("many")
    page.get_by_role("button", name="Call fit").click()
    expect(page.locator("#verdict")).to_contain_text("argument `steps` is a whole number, and 'many' is none")
    page.goto(f"{POOL}/tool?name=fail")
    page.get_by_label("message").fill(MARKUP)
    page.get_by_role("button", name="Call fail").click()
    expect(page.locator("#verdict")).to_contain_text(MARKUP)
    assert page.evaluate("window.harmed") is None


def test_a_stream_is_seen_chunk_by_chunk_and_can_be_stopped(page: Page, client: snakepit.sync.Client) -> None:
    page.goto(f"{POOL}/tool?name=count")
    page.get_by_label("to").fill("1000")
    page.get_by_role("button", name="Call count").click()
    expect(page.locator("#out li").nth(2)).to_contain_text('"square": 9')
    expect(page.locator("#progress")).to_contain_text("of 1000")
    page.get_by_role("button", name="Stop").click()
    wait_until(lambda: client.pool("bench").calls(tool="count")[0].reason == "CANCELLED", "the call was cancelled")
    shown = page.locator("#out li").count()
    page.get_by_label("to").fill("2")
    page.get_by_role("button", name="Call count").click()
    expect(page.locator("#verdict")).to_contain_text("done in")
    assert shown >= 3
    assert page.locator("#out li").count() == 2


def test_a_pools_spec_stands_beside_its_defaults(page: Page) -> None:
    page.goto(POOL)
    page.get_by_role("link", name="Spec").click()
    expect(page.locator("#spec tr", has_text="worker.processes")).to_contain_text("3")
    expect(page.locator("#spec tr", has_text="replicas").first).to_contain_text("2")


def test_a_worker_is_drained_by_keyboard_and_asked_for_twice(page: Page, client: snakepit.sync.Client) -> None:
    worker = client.pool("bench").workers()[1]
    page.goto(f"{POOL}/worker?id={worker.id}")
    page.get_by_role("button", name="Drain …").press("Enter")
    expect(page.get_by_role("button", name="Drain it")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Drain it")).to_be_hidden()
    page.get_by_role("button", name="Drain …").press("Enter")
    page.get_by_role("button", name="Drain it").press("Enter")
    expect(page.get_by_role("status").filter(has_text="being drained")).to_be_visible()

    def lives() -> int:
        return next(each.restarts for each in client.pool("bench").workers() if each.id == worker.id)

    wait_until(lambda: lives() == worker.restarts + 1, "a fresh worker took its place")


def test_calls_are_found_by_what_they_have_in_common_and_one_shows_its_way(page: Page, program: Dev) -> None:
    page.goto(f"{POOL}/calls")
    page.get_by_label("Reason").fill("TOOL_ERROR")
    page.get_by_label("Reason").press("Enter")
    rows = page.locator("#calls tbody tr")
    expect(rows.filter(has_text="fail").first).to_contain_text("LookupError")
    expect(rows.filter(has_not_text="TOOL_ERROR")).to_have_count(0)
    rows.first.get_by_role("link").first.click()
    expect(page.locator("#call .way")).to_contain_text("answered")
    expect(page.locator("#log")).to_contain_text("raised LookupError")
    command = page.locator("code", has_text="snakepit logs").inner_text()
    expect(page.locator("main")).not_to_contain_text("kubectl")
    assert command.endswith(f"--server {program.server}")
    subprocess.run([sys.executable, "-m", "snakepit.cli", *command.split()[1:]], check=True, timeout=60)


def test_a_call_that_runs_is_seen_on_its_worker_and_cancelled(page: Page, client: snakepit.sync.Client) -> None:
    page.goto(f"{POOL}/tool?name=wait")
    page.get_by_label("seconds number").fill("60")
    page.get_by_role("button", name="Call wait").click()
    expect(page.locator("#verdict")).to_contain_text("running")
    wait_until(lambda: client.pool("bench").calls(state="running"), "it has come to the control plane")
    (call,) = client.pool("bench").calls(state="running")
    other = page.context.new_page()
    other.goto(POOL)
    expect(other.locator(".worker.busy")).to_contain_text("wait")
    other.goto(f"{POOL}/call?id={call.id}")
    other.get_by_role("button", name="Cancel …").click()
    other.get_by_role("button", name="Cancel the call").click()
    expect(other.locator("#call")).to_contain_text("CANCELLED")
    expect(page.locator("#verdict")).to_contain_text("CANCELLED")


def test_a_call_is_found_among_those_of_all_pools_by_its_id(page: Page, client: snakepit.sync.Client) -> None:
    page.goto("/")
    page.get_by_role("link", name="Calls", exact=True).click()
    row = page.locator("#calls tbody tr").filter(has_text="default/bench").first
    expect(row).to_be_visible()
    id_ = client.pool("bench").calls(tool="fail")[0].id
    page.get_by_label("Call's id").fill(id_)
    page.keyboard.press("Enter")
    expect(page.locator("h2")).to_contain_text(id_)
    page.get_by_label("Where you are").get_by_role("link", name="default/bench").click()
    expect(page.locator("#legend")).to_contain_text("idle")


def test_a_session_is_searched_for_looked_into_and_let_go_of(page: Page, client: snakepit.sync.Client) -> None:
    page.goto(f"{POOL}/sessions")
    page.get_by_label("Id, owner or worker has").fill("ada")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=SESSION).click()
    expect(page.locator("#session")).not_to_contain_text("harmed")
    page.get_by_role("link", name="Show the value of topic").click()
    expect(page.locator("#session pre")).to_contain_text("<script>window.harmed=1</script>")
    page.get_by_role("button", name="Rebind …").click()
    page.get_by_role("button", name="Rebind it").click()
    expect(page.locator("#session")).to_contain_text("its next call chooses one")
    client.pool("bench").session(SESSION).call("keep", {"key": "topic", "value": MARKUP})
    expect(page.locator("#session")).to_contain_text("its worker is idle")
    expect(page.locator("#session .moves")).to_contain_text("somebody asked for it")
    with client.pool("bench").session("gone") as session:
        session.call("keep", {"key": "a", "value": "b"})
    page.goto(f"{POOL}/session?id=gone")
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator("#sessions")).to_contain_text("1 session,")


def test_markup_of_authors_and_callers_is_text(page: Page) -> None:
    for path in (f"{POOL}/tools", f"{POOL}/tool?name=echo"):
        page.goto(path)
        expect(page.locator("main")).to_contain_text("<script>window.harmed=1</script>")
    page.get_by_label("value").fill(MARKUP)
    page.get_by_role("button", name="Call echo").click()
    expect(page.locator("#out")).to_contain_text("<script>window.harmed=1</script>")
    page.goto(f"{POOL}/sessions?find={quote(MARKUP)}")
    expect(page.get_by_role("searchbox")).to_have_value(MARKUP)
    assert page.evaluate("window.harmed") is None


@pytest.mark.parametrize("broken", ["never came about", "broke"])
def test_a_page_says_that_it_is_old_while_its_gateway_is_away_and_goes_on_by_itself(
    page: Page, said: list[str], program: Dev, broken: str
) -> None:
    away = "**/*live=*"
    if broken == "never came about":
        page.context.route(away, lambda route: route.abort())
        page.goto(POOL)
    else:
        with page.expect_response(away, timeout=20_000):
            page.goto(POOL)
        page.context.route(away, lambda route: route.abort())
        (gateway,) = program.running("snakepit_gateway")
        os.kill(gateway, signal.SIGKILL)
    page.evaluate("window.loaded = 1")
    expect(page.locator("#stale")).to_be_visible(timeout=20_000)
    page.context.unroute(away)
    expect(page.locator("#stale")).to_be_hidden(timeout=30_000)
    assert page.evaluate("window.loaded") == 1
    said.clear()


def test_several_tabs_of_one_page_are_all_live(context: BrowserContext) -> None:
    for _ in range(3):
        tab = context.new_page()
        with tab.expect_response("**/*live=*", timeout=20_000):
            tab.goto(POOL)


def test_without_scripts_everything_is_read_and_a_tool_is_tried(browser: Browser, program: Dev) -> None:
    context = browser.new_context(base_url=program.gateway, java_script_enabled=False)
    page = context.new_page()
    page.goto(POOL)
    expect(page.locator("#workers")).to_contain_text("idle")
    page.goto(f"{POOL}/tool?name=add")
    page.locator("#a1").fill("41")
    page.get_by_role("button", name="Call add").click()
    expect(page.locator("#verdict")).to_contain_text("done in")
    expect(page.locator("#out")).to_have_text("42")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_each_page_and_a_narrow_screen_has_no_sideways_scroll(
    page: Page, client: snakepit.sync.Client, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    axe, pictures = Axe(), os.environ.get("SNAKEPIT_SCREENSHOTS")
    if pictures:
        scene(client)
    for name in PAGES:
        page.goto(address(name, client))
        found = axe.run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        page.set_viewport_size({"width": 375, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, name
        page.set_viewport_size({"width": 1200, "height": 800})
        if pictures and (name in PICTURES if scheme == "light" else name == "pool"):
            page.set_viewport_size({"width": 1200, "height": {"calls": 640, "pools": 340}.get(name, 800)})
            page.wait_for_timeout(1500)
            page.screenshot(path=Path(pictures) / f"console-{name}{'-dark' if scheme == 'dark' else ''}.png")
