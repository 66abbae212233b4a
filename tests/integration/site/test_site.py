"""The site that `make site` makes of docs/: without a warning, as the pages read elsewhere, and no link of it leads to nothing."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from markdown_it import MarkdownIt

import snakepit
from support.on_the_site import piece, pieces
from support.pages import ROOT, blocks

MKDOCS = ROOT / ".venv-docs/bin/mkdocs"
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
OF_THE_SITE = {"python-api.md"}
"""These have what MkDocs alone fills in."""
READ = {"h1", "h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "td", "pre", "code", "strong", "img"}

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(not MKDOCS.exists(), reason="there is no .venv-docs here: make site makes it")]


class Page(HTMLParser):
    """What a page says: how many of each kind, its anchors, where it leads, and what a browser would fetch for it."""

    def __init__(self, text: str, whole: bool) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self._within = not whole
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self._within = self._within or tag == "article"
        self.anchors |= {has[name] for name in ("id", "name") if name in has}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        if tag in ("script", "img", "source") and "src" in has:
            self.fetched.append(has["src"])
        if tag == "link" and has.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.fetched.append(has["href"])
        if self._within and tag in READ:
            self.counts[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._within = False


def built(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    words = [MKDOCS, "build", "-d", folder, *options]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = built(folder, "-q")
    assert done.returncode == 0, done.stderr
    return folder


@cache
def read(path: Path) -> Page:
    return Page(path.read_text(), whole=True)


def html(site: Path, page: str) -> Path:
    return site / (page.removesuffix("README.md") + "index.html" if page.endswith("README.md") else page.removesuffix(".md") + ".html")


def test_a_page_reads_on_the_site_as_it_does_elsewhere(site: Path) -> None:
    other = {}
    for page in PAGES:
        here = read(html(site, page)).counts
        there = Page(MarkdownIt("commonmark").enable("table").render((DOCS / page).read_text()), whole=False).counts
        if here != there and page not in OF_THE_SITE:
            other[page] = {tag: (there[tag], here[tag]) for tag in READ if there[tag] != here[tag]}
    assert other == {}


def test_what_is_typed_and_copied_from_the_site_is_what_the_tests_of_the_pages_type(site: Path) -> None:
    """Piece by piece, under its heading, with the name of its file. So whoever has the site alone gets what test_walks.py gets."""
    there = {page: [piece(block) for block in blocks(DOCS / page)] for page in PAGES if page not in OF_THE_SITE}
    assert sum(map(len, there.values())) > 300
    assert {page: pieces(html(site, page)) for page in there} == there


def _nowhere(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue
        for link in sorted(set(read(path).links)):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (
                parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors
            ):
                yield f"{path.relative_to(site)}: {link}"


def test_no_link_leads_to_nothing(site: Path) -> None:
    assert list(_nowhere(site)) == []


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = {(path.name, each) for path in site.rglob("*.html") for each in read(path).fetched}
    assert len(fetched) > 30
    assert [each for each in sorted(fetched) if urlsplit(each[1]).netloc] == []


def test_pictures_are_drawn_by_what_the_site_brings(site: Path) -> None:
    script = site / "mermaid.min.js"
    if not script.exists():
        pytest.skip("there is no Mermaid in .venv-docs: npm was not there when make site made that")
    page = html(site, "architecture.md")
    assert '<pre class="mermaid">' in page.read_text()
    assert "mermaid.min.js" in read(page).fetched


def test_the_python_api_has_what_docstrings_say(site: Path) -> None:
    text = html(site, "python-api.md").read_text()
    assert "A handle on the pool" in text
    anchors = read(html(site, "python-api.md")).anchors
    assert {"snakepit.client.client.Client.pool", "snakepit.client.pool.Pool.call", "snakepit.author.context.Context.state"} <= anchors
    classes = [name for name in snakepit.__all__ if inspect.isclass(getattr(snakepit, name))]
    assert [name for name in classes if f"{getattr(snakepit, name).__module__}.{name}" not in anchors] == []


def test_it_can_be_searched(site: Path) -> None:
    index = (site / "search/search_index.json").read_text()
    assert "idempotency" in index
    assert "sources/tests" not in index, "tests that pages link to are not what a reader searches for"


def test_a_release_has_its_pages_beside_those_of_the_one_before(tmp_path: Path) -> None:
    """As the decision page says, in a repository of its own."""
    who = {f"GIT_{role}_{what}": "it@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{MKDOCS.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **who, "NO_MKDOCS_2_WARNING": "1", "PATH": path}

    def run(*words: str) -> str:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    small_site(tmp_path, "# Home\n")
    run("git", "init", "-q")
    run("git", "commit", "-q", "--allow-empty", "-m", "it")
    run("mike", "deploy", "0.1", "latest")
    run("mike", "deploy", "--update-aliases", "0.2", "latest")
    assert [each["version"] for each in json.loads(run("git", "show", "gh-pages:versions.json"))] == ["0.2", "0.1"]
    assert run("git", "cat-file", "-p", "gh-pages:latest") == "0.2"
    for version in ("0.1", "0.2"):
        assert '"provider": "mike"' in run("git", "show", f"gh-pages:{version}/index.html"), "its pages list the versions"


def small_site(folder: Path, home: str, **pages: str) -> Path:
    """Its configuration: like that of the site, but for its pages."""
    docs = folder / "docs"
    docs.mkdir()
    for name, text in {"README": home, **pages}.items():
        (docs / f"{name}.md").write_text(text)
    config = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(docs),
        "hooks": [str(ROOT / "hack/mkdocs_hooks.py")],
        "nav": ["README.md"],
    }
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
    return folder / "mkdocs.yml"


def test_what_leads_to_nothing_or_stands_nowhere_is_an_error(tmp_path: Path) -> None:
    wrong, lost, alone = "nowhere", "nothing", "alone"
    config = small_site(tmp_path, f"# Home\n\n[page]({wrong}.md) [heading](#{lost})\n", **{alone: "# Nobody finds me\n"})
    done = built(tmp_path / "site", "-f", str(config))
    assert done.returncode != 0
    for word in (f"{wrong}.md", f"#{lost}", f"{alone}.md"):
        assert word in done.stderr
