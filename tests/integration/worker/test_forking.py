"""What an import leaves that a fork would break is found, named, and makes fresh interpreters; what a fork can have is none of that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from snakepit_worker.testing import LocalAgent, LocalWorker

IMPORTS = "support.imports:Imports"


def started(agent: LocalAgent, leave: str, folder: Path, index: int = 0, **env: str) -> LocalWorker:
    worker = agent.start(IMPORTS, index, env={"LEAVE": leave, "LEAVE_IN": str(folder), **env})
    worker.ready()
    return worker


@pytest.mark.parametrize(
    ("leave", "found"),
    [
        ("file", r"1 open file \(\S*/lines\)"),
        ("sqlite", r"1 open file \(\S*/data\.db\)"),
        ("pipe", r"2 open pipes"),
        ("child", r"1 child process \(\S*python\S* -c input\(\)\) and 1 open pipe"),
        ("torch in use", r"CUDA in use \(torch: load on the CPU at import, and move to the device in setup\(\)\)"),
        ("torch poisoned", r"CUDA in use \(torch: load on the CPU at import, and move to the device in setup\(\)\)"),
    ],
)
def test_what_a_fork_would_share_is_named_and_each_worker_has_its_own(agent: LocalAgent, tmp_path: Path, leave: str, found: str) -> None:
    workers = [started(agent, leave, tmp_path, index) for index in range(2)]
    for worker in workers:
        assert re.match(rf"importing {IMPORTS} leaves {found}, which a fork would break, so each", worker.note), worker.note
        assert worker.call("pid") == worker.pid
    if leave == "file":
        assert [worker.call("line") for worker in workers] == ["0\n1", "0\n1"]


@pytest.mark.parametrize("leave", ["", "harmless files", "mapped file", "ended child", "torch", "folder"])
def test_what_a_fork_can_have_is_no_hindrance(agent: LocalAgent, tmp_path: Path, leave: str) -> None:
    assert started(agent, leave, tmp_path).note == ""


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("event_engine", "event_engine, of gRPC: make channels in setup()"),
        ("polars-3", "polars-3, of polars, which can't be forked"),
        ("tf_Compute", "tf_Compute, of TensorFlow: load models in setup()"),
        (
            "jemalloc_bg_thd",
            "jemalloc_bg_thd, of jemalloc, a library's allocator: background_thread:false in its MALLOC_CONF variable prevents it",
        ),
        ("somebody's", "somebody's"),
    ],
)
def test_a_native_thread_is_told_by_its_name_and_with_what_prevents_it(agent: LocalAgent, tmp_path: Path, name: str, found: str) -> None:
    note = started(agent, "thread", tmp_path, LEAVE_NAME=name).note
    assert note.startswith(f"importing {IMPORTS} leaves 1 thread ({found}), which a fork would break"), note


@pytest.mark.parametrize("module", ["pyarrow", "pandas", "sklearn"])
def test_libraries_that_bring_arrow_are_forked(agent: LocalAgent, module: str) -> None:
    worker = agent.start("support.libraries", env={"LIBRARIES": module, "OMP_NUM_THREADS": "1"})
    assert worker.call("work") == 6
    assert worker.note == ""


def test_what_the_author_has_said_to_arrow_stays(tmp_path: Path) -> None:
    with LocalAgent({"JE_ARROW_MALLOC_CONF": "background_thread:true"}) as agent:
        worker = agent.start("support.libraries", env={"LIBRARIES": "pyarrow", "OMP_NUM_THREADS": "1"})
        assert worker.call("work") == 6
        assert "jemalloc_bg_thd" in worker.note


def test_what_the_import_has_registered_runs_at_no_workers_end(agent: LocalAgent, tmp_path: Path) -> None:
    first, second = (started(agent, "folder", tmp_path, index) for index in range(2))
    assert first.call("folders") == [True, True]
    assert first.stop().code == 0
    assert second.call("folders") == [True, True]
    assert started(agent, "folder", tmp_path, 2).call("folders") == [True, True]


def test_what_a_worker_has_registered_runs_at_its_own_end(agent: LocalAgent, tmp_path: Path) -> None:
    note = tmp_path / "note"
    worker = started(agent, "folder", tmp_path, LEAVE_NOTE=str(note))
    assert list(tmp_path.glob("own-*"))
    assert worker.note == ""
    assert worker.stop().code == 0
    assert note.read_text() == "exit"
    assert (tmp_path / "note.finalized").read_text() == "finalized"
    assert not list(tmp_path.glob("own-*"))
    assert len(list(tmp_path.glob("finalized-*"))) == len(list(tmp_path.glob("registered-*"))) == 1


def test_forked_workers_draw_other_numbers_than_each_other_from_the_generators_of_numpy_and_torch(
    agent: LocalAgent, tmp_path: Path
) -> None:
    drawn = []
    for index in range(3):
        worker = started(agent, "seeds", tmp_path, index, OMP_NUM_THREADS="1")
        assert worker.note == ""
        drawn += worker.call("draw")
    assert len(set(drawn)) == 6, drawn
