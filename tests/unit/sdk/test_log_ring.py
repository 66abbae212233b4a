"""A capsule's last log lines, in memory that two processes have."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from snakepit._ipc import log_ring
from snakepit._ipc.log_ring import LogRing, check_ring, make_ring, read_ring
from snakepit._ipc.sockets import FramingError, seal_memfd

WRITER = """
import sys
from snakepit._ipc.log_ring import LogRing
ring, number = LogRing(int(sys.argv[1])), 0
while True:
    ring.add([b"%d " % (number + each) + b"x" * (number % 97) + b"\\n" for each in range(7)])
    number += 7
"""


@pytest.fixture
def ring() -> Iterator[int]:
    made = make_ring()
    yield made
    os.close(made)


def test_the_last_whole_lines_are_read_in_their_order_however_much_was_written(ring: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, chance = LogRing(ring), random.Random(1)
    assert read_ring(ring) == []
    every: list[bytes] = []
    for number in range(400):
        some = [b"%d:" % number + b"x" * chance.choice((0, 1, 300, 4000)) for _ in range(chance.randint(1, 4))]
        writer.add([each + b"\n" for each in some])
        every += some
        read = read_ring(ring)
        assert read == every[len(every) - len(read) :]
        held = sum(len(each) + 1 for each in read)
        assert len(read) == len(every) or held > log_ring.ROOM_BYTES - 4010, "no more is gone than there was no room for"


def test_a_writer_goes_on_where_the_one_before_it_was_killed(ring: int) -> None:
    LogRing(ring).add([b"first\n"])
    LogRing(ring).add([b"second\n"])
    assert read_ring(ring) == [b"first", b"second"]


def test_what_is_longer_than_the_ring_leaves_no_part_of_itself(ring: int) -> None:
    writer = LogRing(ring)
    writer.add([b"a\n", b"x" * log_ring.ROOM_BYTES + b"\n"])
    assert read_ring(ring) == []
    writer.add([b"b\n"])
    assert read_ring(ring) == [b"b"]


def test_who_reads_while_it_is_written_gets_whole_lines_without_a_gap(ring: int) -> None:
    os.set_inheritable(ring, True)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(ring)], pass_fds=[ring]) as writer:
        try:
            seen = 0
            while seen < 200_000:
                numbers = []
                for line in read_ring(ring):
                    number, _, rest = line.partition(b" ")
                    numbers.append(int(number))
                    assert rest == b"x" * (int(number) // 7 * 7 % 97)
                assert all(after == before + 1 for before, after in pairwise(numbers))
                seen = numbers[-1] if numbers else 0
        finally:
            writer.kill()


def test_only_memory_that_stays_as_it_is_counts_as_a_ring(ring: int) -> None:
    check_ring(ring)
    with Path(os.devnull).open("rb") as other, pytest.raises(FramingError):
        check_ring(other.fileno())
    for wrong in (seal_memfd(b"x"), seal_memfd(bytes(16)), seal_memfd(bytes(log_ring.MOST_ROOM_BYTES + 17)), os.memfd_create("unsealed")):
        with pytest.raises(FramingError):
            check_ring(wrong)
        os.close(wrong)
