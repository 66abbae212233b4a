"""What MkDocs has to be told, beyond mkdocs.yml, to make the site out of docs/ as it is: its hooks.

Pages of docs/ are written for GitHub too, so they link to files beside docs/: examples, tests, README. Each of those becomes a page
below sources/, and links lead there. A link to a test (`test_x.py#test_y`) leads to its line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from indents import widened
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
SOURCES = "sources"
VERSION = "MIKE_DOCS_VERSION"
"""What `mike deploy` sets."""
MERMAID = ROOT / ".venv-docs/mermaid.min.js"
STYLE = "site.css"
RULES = """\
.picture { overflow-x: auto; }
.picture .mermaid { min-width: 32rem; }
@media (min-width: 60em) {
  .md-typeset td:first-child code { white-space: nowrap; }
  .md-typeset table:not([class]) th { min-width: 3.6rem; }
  .md-typeset table:not([class]) :is(td, th) { padding-inline: .8em; }
}
"""
"""A picture keeps hardly less than what the text of a page has on a desktop, and is scrolled on a phone. A name isn't broken in two where
there is room: tables have less between their columns for it."""
LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?:#(?P<anchor>[^)\s]*))?\)")
FOUND_FIRST = {"start/": 3, "tutorial/": 1.5, "how-to/": 2, "troubleshooting": 2, "errors": 3, "decisions/": 0.1, "rooms": 0.1}
"""How much a page counts in a search, by how its name begins; others count 1. What to do comes before why it is so."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".lua": "lua", ".sh": "sh", ".toml": "toml", ".json": "json", ".proto": "proto"}
NO_SEARCH = "---\nsearch:\n  exclude: true\n---\n\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """What YAML can't say without naming Python."""
    config["mdx_configs"].setdefault("toc", {})["slugify"] = slugify(case="lower")  # as GitHub does
    if VERSION in os.environ:  # only there a list of versions lies beside the site
        config["extra"]["version"] = {"provider": "mike"}
    if MERMAID.exists():  # else the theme would fetch one from elsewhere
        fence = {"name": "mermaid", "class": "mermaid", "format": _picture}
        config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
        config["extra_javascript"].append(MERMAID.name)
    config["extra_css"].append(STYLE)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file of the repository that a page leads to, and for those that these lead to."""
    texts = {f"{DOCS}/{file.src_uri}": Path(config.docs_dir, file.src_uri).read_text() for file in files.documentation_pages()}
    for path, anchors in _beside(texts).items():
        files.append(File.generated(config, _page_of(path), content=_source(path, sorted(anchors))))
    if MERMAID.exists():
        files.append(File.generated(config, MERMAID.name, abs_src_path=str(MERMAID)))
    files.append(File.generated(config, STYLE, content=RULES))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has them, and its lists as MkDocs reads them; and how soon a search finds it."""
    for beginning, weight in FOUND_FIRST.items():
        if page.file.src_uri.startswith(beginning):
            page.meta.setdefault("search", {}).setdefault("boost", weight)
    return widened(_led(markdown, _origin(page.file.src_uri)))


def _picture(*args: Any, **options: Any) -> str:
    """Within a frame that can be scrolled: on a phone a picture keeps a size at which it can be read."""
    return f'<div class="picture">{fence_code_format(*args, **options)}</div>'


def _origin(uri: str) -> str:
    """The file that a page of the site is made of, from the repository's root on."""
    if not uri.startswith(f"{SOURCES}/"):
        return f"{DOCS}/{uri}"
    path = uri.removeprefix(f"{SOURCES}/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def _beside(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Paths of files and folders beside docs/, each with the anchors that are asked of it."""
    found: dict[str, set[str]] = {}
    waiting = dict(texts)
    while waiting:
        origin, text = waiting.popitem()
        for path, anchor in _leads(text, origin):
            if path.startswith(f"{DOCS}/"):
                continue
            if path not in found and path.endswith(".md"):
                waiting[path] = (ROOT / path).read_text()
            found.setdefault(path, set()).update({anchor} - {""})
    return found


def _leads(text: str, origin: str) -> Iterator[tuple[str, str]]:
    """Where the links of a file lead: paths from the repository's root that are there, and anchors."""
    for link in LINK.finditer(text):
        if path := _target(origin, link["path"]):
            yield path, link["anchor"] or ""


def _target(origin: str, path: str) -> str | None:
    target = normpath(PurePosixPath(origin).parent / path)
    return target if not target.startswith("..") and (ROOT / target).exists() else None


def _page_of(path: str) -> str:
    """Where it is on the site, from docs/ on."""
    if path.startswith(f"{DOCS}/"):
        within = path.removeprefix(f"{DOCS}/")
        return f"{within}/README.md" if (ROOT / path).is_dir() else within
    return f"{SOURCES}/{path}" if path.endswith(".md") else f"{SOURCES}/{path}.md"


def _led(markdown: str, origin: str) -> str:
    """The text with its links as the site has them."""
    here = PurePosixPath(_page_of(origin)).parent

    def led(link: re.Match[str]) -> str:
        path = _target(origin, link["path"])
        if path is None:
            return link[0]
        anchor = f"#{link['anchor']}" if link["anchor"] else ""
        return f"]({relpath(_page_of(path), here)}{anchor})"

    return LINK.sub(led, markdown)


def _source(path: str, anchors: list[str]) -> str:
    file = ROOT / path
    if file.is_dir():
        names = sorted(f"* `{each.name}`" for each in file.iterdir() if not each.name.startswith((".", "_")))
        return f"{NO_SEARCH}# {path}\n\nA folder of the repository:\n\n" + "\n".join(names) + "\n"
    if path.endswith(".md"):
        return NO_SEARCH + file.read_text()
    language = LANGUAGES.get(file.suffix, "text")
    pieces = [f"`````{language}\n{piece}`````\n" for piece in _pieces(file.read_text(), anchors)]
    named = ["", *(f'<a id="{anchor}"></a>\n\n' for anchor in _in_order(file.read_text(), anchors))]
    return f"{NO_SEARCH}# {file.name}\n\n`{path}`\n\n" + "\n".join(f"{name}{piece}" for name, piece in zip(named, pieces, strict=True))


def _definition(text: str, name: str) -> int:
    """Where the function of that name begins."""
    found = re.search(rf"^(?:@.*\n)*(?:async )?def {re.escape(name)}\(", text, re.MULTILINE)
    return found.start() if found else len(text)


def _in_order(text: str, anchors: list[str]) -> list[str]:
    return sorted(anchors, key=lambda name: _definition(text, name))


def _pieces(text: str, anchors: list[str]) -> Iterator[str]:
    places = [0, *sorted(_definition(text, name) for name in anchors), len(text)]
    yield from (text[start:end] for start, end in pairwise(places))
