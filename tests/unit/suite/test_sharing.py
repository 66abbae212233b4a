"""Which process gets which file of tests. The processes are played: each runs its tests in their order, one of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from support.sharing import COMPUTES, Sharing

COMPUTE = [f"{folder}test_it.py" for folder in COMPUTES]
WAIT = [f"tests/integration/test_{name}.py" for name in "abcdefghi"]


class Process:
    """As xdist's: `todo` are tests by their number."""

    shutting_down = False
    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.todo: list[int] = []
        self.files: list[str] = []

    def send_runtest_some(self, numbers: Sequence[int]) -> None:
        self.todo += numbers

    def shutdown(self) -> None:
        self.shutting_down = True


def played(files: Sequence[str], processes: int) -> Iterator[list[Process]]:
    """All tests are run, three in each file; in between, the processes as they are: `files` ends with what runs in each."""
    tests = [f"{file}::test_{number}" for file in files for number in range(3)]
    config: Any = SimpleNamespace(getvalue=lambda _: ["popen"] * processes, option=SimpleNamespace(loadscopereorder=False))
    sharing, all_processes = Sharing(config), [Process() for _ in range(processes)]
    for process in all_processes:
        sharing.add_node(process)  # type: ignore[arg-type]
        sharing.add_node_collection(process, tests)  # type: ignore[arg-type]
    sharing.schedule()
    while any(process.todo for process in all_processes):
        for process in all_processes:
            process.files += [tests[process.todo[0]].partition("::")[0]] if process.todo else []
        yield all_processes
        for process in all_processes:
            if process.todo:
                sharing.mark_test_complete(process, process.todo.pop(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_file_is_run_whole_by_one_process(processes: int) -> None:
    *_, ended = played(COMPUTE + WAIT, processes)
    assert sorted(file for each in ended for file in each.files) == sorted(3 * (COMPUTE + WAIT))
    assert sum(len(set(each.files)) for each in ended) == len(COMPUTE + WAIT)


@pytest.mark.parametrize("processes", [2, 3])
def test_one_process_computes_while_others_have_something_that_waits(processes: int) -> None:
    computing = [sum(each.files[-1] in COMPUTE for each in now if each.todo) for now in played(COMPUTE + WAIT, processes)]
    assert computing[: 3 * len(COMPUTE)] == [1] * 3 * len(COMPUTE)
    assert not any(computing[3 * len(COMPUTE) :])


def test_what_computes_is_shared_by_all_once_there_is_nothing_else() -> None:
    *_, ended = played(COMPUTE, len(COMPUTE))
    assert [each.files for each in ended] == [[file] * 3 for file in COMPUTE]
