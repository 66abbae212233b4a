"""The pieces of code of README and docs, and a shell that runs those of the shell as somebody who types them one after another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = "sh"
BLOCK_SECONDS = 300


@dataclass(frozen=True)
class Block:
    """`heading`: the nearest above. `file`: the paragraph before the block ends in its name and a colon, so the block is its content."""

    page: str
    line: int
    heading: str
    language: str
    text: str
    file: str = ""
    excerpt: str = ""
    """The paragraph before it ends in a link to a file of examples/, and a colon: it is a part of that file."""

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path | str, language: str = "", heading: str = "") -> list[Block]:
    """Those of a page in their order; of one language, below one heading."""
    return [each for each in _all(ROOT / page) if language in ("", each.language) and heading in ("", each.heading)]


@cache
def _all(path: Path) -> list[Block]:
    found, above, before = [], "", ""
    tokens = MarkdownIt("commonmark").parse(path.read_text())
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            above = tokens[at + 1].content
        elif token.type == "paragraph_open":
            before = tokens[at + 1].content
        elif token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            found.append(
                Block(str(path.relative_to(ROOT)), line, above, token.info.split(" ")[0], token.content, named(before), _linked(before))
            )
            before = ""
    return found


def named(paragraph: str) -> str:
    """The file whose content comes next, where a paragraph says so, else ""."""
    named = re.search(r"`([\w./-]+\.\w+|Dockerfile)`:$", paragraph)
    return named[1] if named else ""


def _linked(paragraph: str) -> str:
    linked = re.search(r"\]\((?:\.\./)+(examples/[\w./-]+)\):$", paragraph)
    return linked[1] if linked else ""


class Shell:
    """Runs block after block; where it is and what it has exported go on from one to the next.

    `instead` has what stands for something else here: a path, an address. A line of it that a page doesn't have any more changes nothing.
    """

    def __init__(self, folder: Path, state: Path, instead: Mapping[str, str], **environment: str) -> None:
        self.folder = folder
        self.state = state
        self._instead = instead
        path = os.pathsep.join([str(Path(sys.base_prefix, "bin")), *self._path()])
        theirs = {**os.environ}
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "PYTHONDONTWRITEBYTECODE"):
            theirs.pop(name, None)
        self._environment = {**theirs, "PATH": path, "PIP_NO_COMPILE": "1", **environment}

    @staticmethod
    def _path() -> list[str]:
        """Without this checkout's own environment: a newcomer has none."""
        return [each for each in os.environ["PATH"].split(os.pathsep) if Path(each).resolve() != Path(sys.prefix, "bin").resolve()]

    def put(self, block: Block) -> None:
        """The file that a block is the content of."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.read(block.text))

    def read(self, text: str) -> str:
        """A page's text as it has to be here."""
        for old, new in self._instead.items():
            text = text.replace(old, new)
        return text

    def environment(self) -> dict[str, str]:
        """With what has been exported."""
        done = self.run("env -0")
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)

    def run(self, text: str, *, check: bool = True, seconds: float = BLOCK_SECONDS) -> subprocess.CompletedProcess[str]:
        before = f". '{self.state}'\n" if self.state.exists() else ""
        after = f"\n{{ __code=$?; export -p > '{self.state}'; pwd > '{self.state}.cwd'; exit $__code; }} 2>/dev/null"
        words = ["bash", "-e", "-c", f"{before}{self.read(text)}{after}"]
        # Files, not pipes: what a block leaves in the background (`… &`) would hold those open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            ended = subprocess.run(
                words,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=seconds,
                check=False,
            )
            said = [(file.seek(0), file.read())[1] for file in (out, err)]
        done = subprocess.CompletedProcess(words, ended.returncode, *said)
        assert not check or done.returncode == 0, f"{text}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        if done.returncode == 0:
            self.folder = Path(Path(f"{self.state}.cwd").read_text().strip())
        return done


def here(server: str, gateway: str) -> dict[str, str]:
    """The addresses that pages name, each with the one that it is in this run."""
    return {f"{host}:{port}": at for host in ("localhost", "127.0.0.1") for port, at in ((7800, server), (7880, gateway))}


def checkout_in(folder: Path) -> Path:
    """This checkout as somebody else's, whose `dist` is its own."""
    checkout = folder / "checkout"
    checkout.mkdir()
    for each in ROOT.iterdir():
        if each.name not in ("dist", ".git"):
            (checkout / each.name).symlink_to(each)
    return checkout
