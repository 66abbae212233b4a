"""What a worker runs on, as the kernel and the interpreter say it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snakepit_worker.container import cpus, describe_python, python


@pytest.mark.parametrize(
    ("abiflags", "gil", "said"),
    [
        ("", True, "3.14.0"),
        ("t", False, "3.14.0 free-threaded"),
        ("t", True, "3.14.0 free-threaded, but the GIL is on: an extension module or PYTHON_GIL asked for it"),
    ],
    ids=["with the GIL", "free-threaded", "free-threaded, but the GIL is on"],
)
def test_a_free_threaded_python_is_recognised_and_so_is_one_that_has_taken_its_gil_back(abiflags: str, gil: bool, said: str) -> None:
    assert describe_python("3.14.0", abiflags, gil=gil) == said


def test_this_python_describes_itself() -> None:
    assert python()


ALL = float(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("groups", "files", "found"),
    [
        ("0::/", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/", {"cpu.max": "max 100000"}, ALL),
        ("0::/pods/one", {"cpu.max": "max 100000", "pods/one/cpu.max": "25000 100000"}, 0.25),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "75000", "cpu/cpu.cfs_period_us": "100000"}, 0.75),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ("4:memory:/", {"cpu/cpu.cfs_quota_us": "75000", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ("0::/", {"cpu.max": "1000000000 100000"}, ALL),
        ("0::/", {}, ALL),
    ],
    ids=[
        "v2",
        "v2 without a limit",
        "v2 at its own path",
        "v1",
        "v1 without a limit",
        "another controller",
        "more than there are",
        "nothing",
    ],
)
def test_the_cpus_are_the_limit_of_the_container_or_those_of_the_machine(
    tmp_path: Path, groups: str, files: dict[str, str], found: float
) -> None:
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "cgroup").write_text(groups + "\n")
    assert cpus(tmp_path / "root", tmp_path / "cgroup") == found
