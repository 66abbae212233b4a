"""Somebody who goes through a page of docs/ with a shell: writes its files, types its commands, and compares what it says they print."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

from .dev_server import Program
from .pages import ROOT, SHELL, Block, Shell, blocks

DEV = "snakepit dev "
ANYTHING = "…"
"""In what a page shows of an output it stands for what is another one each time."""


@dataclass
class Walker:
    """`dev` runs in another terminal, from the block that starts it on: with these options, until another block starts another one.

    Before that one the page has to say that the one that runs is to end. `there`: whoever comes to the first page has one running.
    """

    shell: Shell
    options: str
    dev: Program | None = None
    there: bool = False

    def goes_through(self, page: str, but: Collection[str] = (), only: Collection[str] = ()) -> int:
        """All of it, but for what stands under these headings, or only what does. So many of its blocks were commands."""
        typed = 0
        for block, shown in steps(page):
            if block.heading in but or (only and block.heading not in only):
                continue
            if block.file:
                self.shell.put(block)
            elif block.language == SHELL:
                typed += 1
                (self._starts if block.text.startswith(DEV) else self._types)(block, shown)
        return typed

    def _types(self, block: Block, shown: Block | None) -> None:
        """A command that fails has to say what the page shows."""
        done = self.shell.run(block.text, check=shown is None)
        printed = done.stdout + done.stderr if done.returncode else done.stdout
        assert shown is None or as_shown(self.shell.read(shown.text), printed), f"{block.id}: it printed\n{printed}"

    def _starts(self, block: Block, shown: Block | None) -> None:
        """Of what it says, each line begins somewhere as the page shows it."""
        assert "Ctrl-C" in leading(block) or not (self.dev or self.there), f"{block.id}: one runs, which has the port"
        self.ends()
        command = block.text.strip().partition("  #")[0]
        self.dev = Program("bash", "-c", f". '{self.shell.state}'; exec {command} {self.options}", cwd=self.shell.folder)
        self.dev.says("ready: the control plane is at", 60)
        for line in shown.text.splitlines() if shown is not None else ():
            self.dev.says(self.shell.read(line))

    def ends(self) -> None:
        """By Ctrl-C, and by force where that is not enough."""
        if self.dev is not None:
            self.dev.send(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.dev.wait(10)
            self.dev.end()
            self.dev = None


def steps(page: str, heading: str = "") -> Iterator[tuple[Block, Block | None]]:
    """The blocks of a page in their order, each with the one that shows what it prints, if the next one has no language."""
    every = blocks(page, heading=heading)
    for block, after in pairwise([*every, None]):
        assert block is not None
        yield block, after if after is not None and not after.language and block.language == SHELL else None


def leading(block: Block) -> str:
    """The paragraph before it."""
    above = "\n".join((ROOT / block.page).read_text().splitlines()[: block.line - 1])
    return above.rstrip().rpartition("\n\n")[2]


def as_shown(shown: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.strip().split(ANYTHING))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
