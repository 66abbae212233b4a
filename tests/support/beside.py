"""Tests of the cluster that wait more than they work, and disturb nobody: all of them at once, each told of when its turn comes.

Such a test has the fixture `beside`, takes `namespace` and its parameters and nothing else, makes its pools itself, and judges by no clock
what a machine that does much else would do more slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from support.incluster import RUNS

AT_ONCE = 4
"""So few that none of them is late for the others' pods."""

Ends = dict[str, Future[None]]
"""How each of them ends, by its node id."""


def is_played(item: pytest.Item) -> bool:
    return "beside" in getattr(item, "fixturenames", ())


@contextmanager
def played(items: list[pytest.Item], namespace: str) -> Iterator[Ends]:
    """Those of the items that are played beside each other, from now on."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield {item.nodeid: threads.submit(_play, item, namespace) for item in items if is_played(item)}


def _play(item: pytest.Item, namespace: str) -> None:
    assert isinstance(item, pytest.Function)
    RUNS.set(item.name)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    item.obj(namespace=namespace, **parameters)
