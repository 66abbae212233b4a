"""What a person has chosen on the screen of `snakepit top`, and what a key changes of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from snakepit.cli.top.look import PoolRow, matches

MOST_TYPED = 100

_KEYS = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)
_MEANT = {
    "up": ("k", "\x1b[A", "\x1bOA"),
    "down": ("j", "\x1b[B", "\x1bOB"),
    "first": ("\x1b[H", "\x1bOH", "\x1b[1~"),
    "last": ("\x1b[F", "\x1bOF", "\x1b[4~"),
    "page up": ("\x1b[5~",),
    "page down": ("\x1b[6~",),
    "<": (",", "\x1b[D", "\x1bOD"),
    ">": (".", "\x1b[C", "\x1bOC", "\x1b[17~"),  # F6
    "h": ("?", "\x1bOP", "\x1b[11~"),  # F1
    "/": ("\\", "\x1bOS", "\x1b[14~", "\x1bOR", "\x1b[13~"),  # F4, F3
    "Z": (" ",),
    "q": ("Q", "\x03", "\x1b[21~"),  # F10
}
_NAMES = {typed: name for name, several in _MEANT.items() for typed in several}

SORTS: Sequence[tuple[str, Callable[[PoolRow], Any], bool]] = (
    ("NAME", lambda pool: pool.name, False),
    ("WORKERS", lambda pool: pool.ready_workers, True),
    ("BUSY", lambda pool: pool.busy_slots / max(1, pool.total_slots), True),
    ("QUEUE", lambda pool: pool.queue_depth, True),
    ("WAIT", lambda pool: pool.queue_p99_seconds or 0.0, True),
    ("CALLS/S", lambda pool: pool.calls_per_second or 0.0, True),
    ("P50", lambda pool: pool.p50_seconds or 0.0, True),
    ("P99", lambda pool: pool.p99_seconds or 0.0, True),
    ("SESSIONS", lambda pool: pool.sessions, True),
    ("ERRORS", lambda pool: sum(pool.errors.values()), True),
)
"""Columns to sort by: title, key, and whether the largest comes first."""

TITLES = tuple(title for title, _, _ in SORTS)

_SORTED_BY = {"N": TITLES.index("NAME"), "P": TITLES.index("BUSY")}
"""htop's keys for a process' number and its use of the processor."""


class State(msgspec.Struct, frozen=True):
    """`sort`: an index of SORTS. `typing`: keys go into the filter. `selected`: a pool's name."""

    sort: int = TITLES.index("CALLS/S")
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    selected: str = ""
    paused: bool = False
    help: bool = False
    over: bool = False


def keys(text: str) -> Iterator[str]:
    """What has been typed, key by key: a special one is several characters."""
    yield from (found.group() for found in _KEYS.finditer(text))


def rows(pools: Sequence[PoolRow], state: State) -> list[PoolRow]:
    """Pools that the filter lets through, in the order that was chosen; those alike by name."""
    _, key, largest_first = SORTS[state.sort]
    meant = sorted((each for each in pools if matches(each.name, state.filter)), key=lambda each: each.name)
    return sorted(meant, key=key, reverse=largest_first is not state.reverse)


def pressed(state: State, key: str, shown: Sequence[str], page: int) -> State:
    """After a key, as `keys` gives it. `shown`: names of the pools in their order; `page`: how many of them fit."""
    if state.typing:
        return _typed(state, key)
    if state.help:
        return msgspec.structs.replace(state, help=False, over=_NAMES.get(key, key) == "q")
    name = _NAMES.get(key, key)
    steps = {"up": -1, "down": 1, "page up": -page, "page down": page, "first": -len(shown), "last": len(shown)}
    if name in steps:
        return msgspec.structs.replace(state, selected=_moved(state.selected, steps[name], shown))
    changes: dict[str, dict[str, Any]] = {
        "q": {"over": True},
        "h": {"help": True},
        "/": {"typing": True},
        "\x1b": {"filter": ""},
        "Z": {"paused": not state.paused},
        "I": {"reverse": not state.reverse},
        "<": {"sort": (state.sort - 1) % len(SORTS), "reverse": False},
        ">": {"sort": (state.sort + 1) % len(SORTS), "reverse": False},
        **{typed: {"sort": sort, "reverse": False} for typed, sort in _SORTED_BY.items()},
    }
    return msgspec.structs.replace(state, **changes.get(name, {}))


def _typed(state: State, key: str) -> State:
    """In the filter: Enter keeps it, Escape gives it up."""
    if key in ("\r", "\n"):
        return msgspec.structs.replace(state, typing=False)
    if key in ("\x1b", "\x03"):
        return msgspec.structs.replace(state, typing=False, filter="")
    if key in ("\x7f", "\b"):
        return msgspec.structs.replace(state, filter=state.filter[:-1])
    return msgspec.structs.replace(state, filter=(state.filter + key)[:MOST_TYPED]) if key.isprintable() and len(key) == 1 else state


def _moved(selected: str, by: int, shown: Sequence[str]) -> str:
    if not shown:
        return ""
    at = shown.index(selected) if selected in shown else 0
    return shown[min(max(at + by, 0), len(shown) - 1)]
