"""What of a process's descriptors a fork can't have, and how that is told."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit_worker.descriptors import Open, counted, hindrances, opened


@pytest.fixture
def before() -> set[Open]:
    return opened()


@pytest.fixture
def zero() -> Iterator[int]:
    """A device, in the place of a GPU: none is here."""
    descriptor = os.open("/dev/zero", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_an_open_device_of_the_pattern_is_cuda_in_use(before: set[Open], zero: int) -> None:
    said = "CUDA in use (/dev/zero: load on the CPU at import, and move to the device in setup())"
    assert hindrances(before, devices="/dev/zer*") == [said]
    assert hindrances(before) == []


def test_what_was_open_before_and_its_copies_are_none() -> None:
    reader, writer = os.pipe()
    here, there = socket.socketpair()
    with tempfile.TemporaryFile() as file, here, there:
        before = opened()
        copies = [os.dup(each) for each in (reader, writer, here.fileno())]
        assert hindrances(before) == []
        again = os.dup(file.fileno())
        assert len(hindrances(before)) == 1, "a copy of a file has the file's position"
    for each in (reader, writer, again, *copies):
        os.close(each)


@pytest.mark.parametrize(
    ("flags", "is_one"), [(os.O_RDONLY, True), (os.O_RDWR, True), (os.O_WRONLY, False), (os.O_RDWR | os.O_APPEND, False)]
)
def test_a_file_is_one_if_there_is_a_position_to_read_at(before: set[Open], tmp_path: Path, flags: int, is_one: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    descriptor = os.open(path, flags)
    try:
        assert hindrances(before) == ([f"1 open file ({path})"] if is_one else [])
    finally:
        os.close(descriptor)


def test_a_folder_is_none(before: set[Open], tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert hindrances(before) == []
    finally:
        os.close(descriptor)


def test_a_named_pipe_is_told_by_its_name(before: set[Open], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    descriptor = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        assert hindrances(before) == [f"1 open pipe ({tmp_path}/fifo)"]
    finally:
        os.close(descriptor)


def test_however_many_there_are_a_few_are_named_and_no_name_is_long() -> None:
    assert counted("open file", ["/a"]) == "1 open file (/a)"
    assert counted("open file", ["/a", "/a", "/b"]) == "3 open files (2 x /a, /b)"
    assert counted("child process", [f"{n}" for n in range(50)]) == "50 child processes (0, 1, 2 and 47 more)"
    assert counted("open pipe", ["", ""]) == "2 open pipes"
    assert len(counted("open file", ["/x" * 4000])) < 150
