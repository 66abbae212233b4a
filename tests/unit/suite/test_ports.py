"""Ports of tests: nobody else is given one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from support import ports
from support.attack import python_path

GIVES = "from support.ports import free_port; print(free_port(1), flush=True); input()"

Chosen = Callable[..., None]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """By chance, in this order."""

    class Chance:
        def __init__(self, *these: int) -> None:
            self.these = list(these)

        def choice(self, _: object) -> int:
            return self.these.pop(0)

    return lambda *these: monkeypatch.setattr(ports, "_chance", Chance(*these))


@pytest.fixture
def pair() -> int:
    """This port and the next one are nobody's."""
    return ports.free_port(1, 2, 3) + 1


def test_a_process_gives_none_twice(chosen: Chosen, pair: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_given", set())
    chosen(pair, pair - 1, pair + 1, pair, pair + 2)
    assert [ports.free_port(1), ports.free_port()] == [pair, pair - 1]
    assert ports.free_port() == pair + 2, "the one above the first is given, too"


def test_what_another_process_has_given_is_its_own_until_it_ends(chosen: Chosen) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GIVES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path()},
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        free = ports.free_port()
        ports._given.discard(free)  # noqa: SLF001  # As if it had been another process' too.
        chosen(theirs, theirs + 1, free)
        assert ports.free_port() == free
        other.communicate("\n", 30)
    chosen(theirs)
    assert ports.free_port() == theirs


def test_none_is_given_where_somebody_is_or_above_all(chosen: Chosen, pair: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_given", set())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", pair))
        chosen(pair, pair - 1, ports.PORTS[-1], pair + 1)
        assert ports.free_port(1) == pair + 1
