"""`snakepit_worker.testing.start`, as an author uses it: as a real worker and as `snakepit.testing`, and quick."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

import snakepit.testing
import snakepit_worker.testing
from snakepit import InvalidArguments, PayloadWarning, ToolError
from snakepit_worker.testing import LocalWorker, is_alive

VALUES = "support.values:Values"
STARTS = [snakepit.testing.start, snakepit_worker.testing.start]

both = pytest.mark.parametrize("start", STARTS, ids=["in this process", "in a worker"])


@both
def test_what_can_not_be_carried_is_a_warning_at_the_tests_own_line(start) -> None:  # type: ignore[no-untyped-def]
    with start(VALUES) as values:
        for use in (
            lambda: values.call("make", {"name": "lock"}),
            lambda: list(values.stream("make_each", {"names": ["lock"]})),
            lambda: values.call("echo", {"value": threading.Lock()}),
        ):
            with pytest.warns(PayloadWarning, match="can't be carried") as caught:
                use()
            assert {each.filename for each in caught} == {__file__}


@both
def test_arguments_that_can_not_be_sent_are_refused_by_name(start) -> None:  # type: ignore[no-untyped-def]
    with start(VALUES) as values, pytest.raises(InvalidArguments, match="argument 'value' has"):
        values.call("echo", {"value": "\udcff"})


@pytest.mark.parametrize(("profile", "count"), [("process", "1"), ("thread", str(max(1, len(os.sched_getaffinity(0)) // 4)))])
def test_numeric_libraries_have_as_many_threads_as_in_a_pool(profile: str, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with snakepit_worker.testing.start("support.authored:Telling", profile=profile, slots=4 if profile == "thread" else 1) as worker:
        assert worker.call("variable", {"name": "OMP_NUM_THREADS"}) == count


def test_the_authors_own_number_of_threads_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with snakepit_worker.testing.start("support.authored:Telling") as worker:
        assert worker.call("variable", {"name": "OMP_NUM_THREADS"}) == "3"


def test_each_start_is_a_new_worker_of_the_keeper_that_has_imported_the_adapter() -> None:
    pids, keepers = set(), set()
    for _ in range(3):
        with snakepit_worker.testing.start("support.authored:Remembering") as worker:
            pids.add(worker.pid)
            keepers.add(keeper_of(worker))
            assert worker.call("learn", {"word": "a"}, session_id="ada") == ["a"]
            assert worker.state.value("ada", "words") == ["a"]
        assert not is_alive(worker.pid)
    assert (len(pids), len(keepers)) == (3, 1)


def test_two_at_a_time_are_apart() -> None:
    with (
        snakepit_worker.testing.start("support.authored:Remembering") as one,
        snakepit_worker.testing.start("support.authored:Remembering") as other,
    ):
        assert one.call("learn", {"word": "a"}, session_id="ada") == ["a"]
        assert other.call("learn", {"word": "b"}, session_id="ada") == ["b"]
    assert not is_alive(one.pid)
    assert not is_alive(other.pid)


def test_a_variable_or_a_file_that_has_changed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import os\nfrom snakepit import tool\nWHO = os.environ.get('WHO', '')\n@tool\ndef who() -> str:\n    return {}\n"
    (tmp_path / "changing.py").write_text(source.format("WHO"))
    for who in ("ada", "bob"):
        monkeypatch.setenv("WHO", who)
        with snakepit_worker.testing.start("changing") as worker:
            assert worker.call("who") == who
    (tmp_path / "changing.py").write_text(source.format("'written'"))
    os.utime(tmp_path / "changing.py", (0, time.time() + 10))
    with snakepit_worker.testing.start("changing") as worker:
        assert worker.call("who") == "written"


def test_a_worker_that_died_leaves_nothing_of_itself_to_the_next() -> None:
    with pytest.raises(snakepit.WorkerLost), snakepit_worker.testing.start("support.authored:Telling") as worker:
        worker.call("leave")
    with snakepit_worker.testing.start("support.authored:Telling") as worker:
        with pytest.raises(ToolError):
            worker.call("variable", {"name": "NOT_SET"})
        assert worker.call("variable", {"name": "PATH"})


def test_a_test_that_fails_leaves_no_process() -> None:
    with pytest.raises(KeyError), snakepit_worker.testing.start("support.authored:Telling") as worker:
        raise KeyError
    snakepit_worker.testing.wait_until(lambda: not is_alive(worker.pid))


def keeper_of(worker: LocalWorker) -> int:
    """Its parent: the keeper, or the zygote of that one."""
    return int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1])
