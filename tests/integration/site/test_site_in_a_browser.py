"""The site as somebody reads it: it is searched, its pictures are drawn, and a browser complains of nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from support.pages import ROOT, blocks

MKDOCS = ROOT / ".venv-docs/bin/mkdocs"
PICTURES = ROOT / ".venv-docs/mermaid.min.js"
DRAWN = sorted({page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md") if blocks(page, "mermaid")})
READY_MS = 60_000

pytestmark = [pytest.mark.timeout(240), pytest.mark.skipif(not MKDOCS.exists(), reason="there is no .venv-docs here: make site makes it")]


class Quiet(SimpleHTTPRequestHandler):
    """Without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("site")
    subprocess.run([MKDOCS, "build", "-q", "-d", folder], cwd=ROOT, check=True, timeout=170)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def page(url: str) -> Iterator[Page]:
    """Whatever the browser complains of, or fetches from elsewhere, fails the test."""
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not installed: hack/test-needs does it")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(READY_MS)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:", "blob:")) else complaints.append(asked.url))
        yield page
        browser.close()
    assert complaints == []


def test_a_word_is_found(page: Page, url: str) -> None:
    page.goto(f"{url}/index.html")
    page.click("input[name=query]")
    page.keyboard.type("idempotency", delay=20)
    expect(page.locator(".md-search-result__meta")).to_have_text(re.compile(r"\d+ matching documents"), timeout=READY_MS)


@pytest.mark.parametrize(("words", "first"), [("install", "Install"), ("WORKER_LOST", "Errors"), ("large file", "Large data")])
def test_what_to_do_is_found_before_why_it_is_so(page: Page, url: str, words: str, first: str) -> None:
    page.goto(f"{url}/index.html?q={quote(words)}")
    expect(page.locator(".md-search-result__item h1").first).to_have_text(first, timeout=READY_MS)


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_drawn(page: Page, url: str, name: str) -> None:
    if not PICTURES.exists():
        pytest.skip("there is no Mermaid in .venv-docs: npm was not there when make site made that")
    page.goto(f"{url}/{name.removesuffix('.md')}.html")
    drawings = page.locator("div.mermaid")
    expect(drawings).to_have_count(len(blocks(f"docs/{name}", "mermaid")), timeout=READY_MS)
    for at in range(drawings.count()):
        box = drawings.nth(at).bounding_box()
        assert box is not None
        assert box["height"] > 200, "Mermaid's word for a mistake is smaller"


@pytest.mark.parametrize("name", DRAWN)
def test_on_a_phone_a_picture_keeps_its_size_and_the_page_its_width(page: Page, url: str, name: str) -> None:
    if not PICTURES.exists():
        pytest.skip("there is no Mermaid in .venv-docs: npm was not there when make site made that")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{url}/{name.removesuffix('.md')}.html")
    drawings = page.locator("div.mermaid")
    expect(drawings).to_have_count(len(blocks(f"docs/{name}", "mermaid")), timeout=READY_MS)
    assert [width for width in drawings.evaluate_all("all => all.map(each => each.offsetWidth)") if width < 600] == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
