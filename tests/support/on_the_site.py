"""A page as the site's reader has it: the pieces of code that stand there to be typed or copied, read out of its HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from .pages import Block, named

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
PARAGRAPHS = {"p", "li"}


class Piece(NamedTuple):
    """The heading above, the file that it is the content of (or ""), and what stands there."""

    heading: str
    file: str
    text: str


def piece(block: Block) -> Piece:
    """The same of a page's Markdown. MkDocs knows no tabs: Go, which doesn't mind, is the one language here that has them."""
    text = block.text.replace("\t", "    ") if block.language == "go" else block.text
    return Piece(block.heading, block.file, text.rstrip("\n"))


def pieces(html: Path) -> list[Piece]:
    return _Reader(html.read_text()).found


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Piece] = []
        self._heading = self._before = self._text = ""
        self._article = self._piece = self._symbol = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._article = self._article or tag == "article"
        self._symbol = tag == "a" and ("class", "headerlink") in attrs
        if tag == "pre":
            self._piece = True
        if tag == "code" and not self._piece:
            self._text += "`"
        elif tag in HEADINGS | PARAGRAPHS | {"pre"}:
            self._text = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "code" and not self._piece:
            self._text += "`"
        elif tag in HEADINGS:
            self._heading = self._text
        elif tag in PARAGRAPHS:
            self._before = self._text
        elif tag == "pre":
            self._ends()
        elif tag == "article":
            self._article = False
        self._symbol = False

    def handle_data(self, data: str) -> None:
        if not self._symbol:
            self._text += data

    def _ends(self) -> None:
        if self._article:
            self.found.append(Piece(self._heading, named(self._before.strip()), self._text.rstrip("\n")))
        self._piece, self._before = False, ""
