"""What stands on the terminal of a recording, line by line, and from when until when. Pure, but for the terminal emulator pyte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import pyte
from pyte.screens import Char

from .asciicast import Cast

TALL = 1000
"""Lines of a terminal on which nothing scrolls away."""
LINE_SECONDS = 0.4
"""So long a line stands alone before the next one comes."""
IDLE_SECONDS = 2.0
"""The next line comes after so long at most: longer pauses are cut, and so is what a progress bar shows meanwhile."""
FAINT = re.compile(r"\x1b\[2m")
GREY = "\x1b[90m"


@dataclass(frozen=True)
class Run:
    """Letters side by side that look alike. `column`: of the first, from 0 on."""

    column: int
    text: str
    colour: str
    bold: bool


@dataclass(frozen=True)
class Shown:
    """A line as it is for a while, in seconds. `row`: from the first line of the recording on. `ends`: None: never."""

    row: int
    runs: tuple[Run, ...]
    begins: float
    ends: float | None


def final_lines(cast: Cast) -> list[str]:
    """The text that stands there at the end, lines that the terminal folded in one piece."""
    screen = pyte.Screen(TALL, TALL)
    pyte.Stream(screen).feed("".join(written for _, written in cast.events))
    return "\n".join(line.rstrip() for line in screen.display).rstrip().splitlines()


def paced(events: Iterable[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Slow enough to be read: lines one after another, and no long pause."""
    clock = before = waited = 0.0
    for at, written in events:
        for piece in re.findall(r"[^\n]*\n|[^\n]+", written):
            pause, before = min(at - before, IDLE_SECONDS - waited), at
            clock, waited = clock + pause, waited + pause
            yield clock, piece
            if piece.endswith("\n"):
                clock, waited = clock + LINE_SECONDS * bool(re.search(r"\w", piece)), 0.0


def shown(cast: Cast) -> tuple[list[Shown], list[tuple[float, int]], float]:
    """Every line in every state, at a pace to be read; which line is the lowest, from when on; and when it ends."""
    screen = pyte.Screen(cast.columns, TALL)
    stream = pyte.Stream(screen)
    now: dict[int, tuple[float, tuple[Run, ...]]] = {}
    found: list[Shown] = []
    lowest, at = [(0.0, 0)], 0.0
    for at, piece in paced(cast.events):
        stream.feed(FAINT.sub(GREY, piece))  # pyte knows no faint letters
        for row in sorted(screen.dirty):
            since, old = now.get(row, (at, ()))
            if (runs := _runs(screen, row)) != old:
                found += [Shown(row, old, since, at)] if old and since < at else []
                now[row] = (at, runs)
        screen.dirty.clear()
        if screen.cursor.y > lowest[-1][1]:
            lowest.append((at, screen.cursor.y))
    found += [Shown(row, runs, since, None) for row, (since, runs) in now.items() if runs]
    return sorted(found, key=lambda each: (each.row, each.begins)), lowest, at


def _runs(screen: pyte.Screen, row: int) -> tuple[Run, ...]:
    """Without what is blank around them."""
    cells = [(column, screen.buffer[row][column]) for column in range(screen.columns)]
    found = []
    for (colour, bold), group in groupby(cells, key=lambda cell: _look(cell[1])):
        letters = list(group)
        text = "".join(char.data for _, char in letters)
        if text.strip():
            found.append(Run(letters[0][0] + len(text) - len(text.lstrip()), text.strip(), colour, bold))
    return tuple(found)


def _look(char: Char) -> tuple[str, bool]:
    return char.fg, char.bold
