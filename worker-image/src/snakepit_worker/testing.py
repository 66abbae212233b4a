"""Run an adapter in a real worker process, under the real keeper, without an agent, a cluster or a control plane.

    with snakepit_worker.testing.start(Digits) as digits:
        assert digits.call("classify", {"image": pixels}) == 7

The first start of an adapter imports it; the keeper that has done so stays until the tests end, and further starts of that adapter are
forks of it, which take some milliseconds. `snakepit.testing` needs no process at all.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from snakepit._ipc.control import WorkerExited, thread_environment
from snakepit.author.adapter import Adapter
from snakepit_worker.local_agent import LocalAgent, is_alive, wait_until
from snakepit_worker.local_worker import Heard, LocalWorker, Watch, outcome

__all__ = ["Heard", "LocalAgent", "LocalWorker", "Watch", "is_alive", "outcome", "start", "wait_until"]

_EACH_TEST = ("PYTEST_CURRENT_TEST",)
"""Variables that differ from test to test, and say nothing to an adapter."""


@contextlib.contextmanager
def start(adapter: type[Adapter] | str, *, profile: str = "process", slots: int = 1, startup: str = "fork") -> Iterator[LocalWorker]:
    """One worker with its adapter set up: `call` and `stream` it. Raises SnakepitError with the reason where it can't serve.

    Each start is a new worker, with state and offers of its own. Its numeric libraries have as many threads as in a pool.
    """
    path = adapter if isinstance(adapter, str) else f"{adapter.__module__}:{adapter.__qualname__}"
    with _keeper(_Wanted.of(path, profile, startup)) as agent:
        worker = agent.start(path, profile=profile, slots=slots, startup=startup, env=thread_environment(profile, slots, _cpus()))
        worker.ready()
        yield worker
        if not worker.heard.ended:
            worker.stop()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Wanted(NamedTuple):
    """What a keeper has to have been started with, and have imported, to be of use again."""

    adapter: str
    profile: str
    startup: str
    process: int
    folder: str
    path: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    written: int

    @classmethod
    def of(cls, adapter: str, profile: str, startup: str) -> _Wanted:
        environment = tuple(sorted((name, value) for name, value in os.environ.items() if name not in _EACH_TEST))
        return cls(adapter, profile, startup, os.getpid(), str(Path.cwd()), tuple(sys.path), environment, _written(adapter))


def _written(adapter: str) -> int:
    """When the adapter's file was; 0 where there is none."""
    try:
        found = importlib.util.find_spec(adapter.partition(":")[0])
        return Path(found.origin).stat().st_mtime_ns if found is not None and found.origin else 0
    except (ImportError, OSError, ValueError):  # the worker will say what is wrong with it
        return 0


_kept: dict[_Wanted, LocalAgent] = {}
"""At most one, which nobody uses now."""


@contextlib.contextmanager
def _keeper(wanted: _Wanted) -> Iterator[LocalAgent]:
    """One that is kept, or a new one; kept afterwards where all went well."""
    agent = _kept.pop(wanted, None)
    if agent is None or agent.keeper.poll() is not None:
        _close_kept()
        agent = LocalAgent({"SNAKEPIT_LOG_FORMAT": os.environ.get("SNAKEPIT_LOG_FORMAT", "text")})
    try:
        yield agent
    except BaseException:
        agent.close()
        raise
    ended = {frame.incarnation for frame in agent.heard.all(WorkerExited)}
    if _kept or any(worker.incarnation not in ended for worker in agent.workers):
        agent.close()
        return
    agent.forget()
    _kept[wanted] = agent


@atexit.register
def _close_kept() -> None:
    while _kept:
        wanted, agent = _kept.popitem()
        if wanted.process == os.getpid():  # else it is the parent's
            agent.close()
