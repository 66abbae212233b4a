"""What workers have printed: kept within bounds, told in order, and followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from snakepit.cli import local_runs
from snakepit_local.logbook import Logbook

WAIT = 10.0


@asynccontextmanager
async def serving(path: Path, pools: Sequence[str] = ("default/a",), most_bytes: int = 1000) -> AsyncIterator[Logbook]:
    book = Logbook(pools, most_bytes)
    await book.serve(path)
    try:
        yield book
    finally:
        await book.close()


class Reader:
    """`pools` and `kept` are what it was told at once."""

    def __init__(self, stream: asyncio.StreamReader, pools: list[str], kept: list[list[str]]) -> None:
        self._stream, self.pools, self.kept = stream, pools, kept

    @property
    def texts(self) -> list[str]:
        return [text for *_, text in self.kept]

    async def next(self) -> str:
        """The text of the next line; empty: the end."""
        async with asyncio.timeout(WAIT):
            return (await self._stream.readline()).decode().rstrip("\n").rpartition("\t")[2]


@asynccontextmanager
async def reading(path: Path) -> AsyncIterator[Reader]:
    stream, writer = await asyncio.open_unix_connection(path)
    try:
        pools, kept = json.loads(await stream.readline()), []
        while (line := await stream.readline()) != b"\n":
            kept.append(line.decode().rstrip("\n").split("\t", 3))
        yield Reader(stream, pools, kept)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_lines_come_back_with_their_time_and_capsule_and_tabs_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", ["team/b", "default/a"]) as book:
        book.add("default/a", "a-0", "one\ttwo")
        book.add("team/b", "b-0", "three")
        async with reading(tmp_path / "s") as reader:
            assert reader.pools == ["default/a", "team/b"]
            assert [line[1:] for line in reader.kept] == [["default/a", "a-0", "one\ttwo"], ["team/b", "b-0", "three"]]
            assert all(time.endswith("Z") for time, *_ in reader.kept)


async def test_the_newest_lines_of_a_pool_are_kept_and_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", ["default/a", "default/quiet"]) as book:
        book.add("default/quiet", "q-0", "still there")
        for number in range(1000):
            book.add("default/a", "a-0", f"line {number}")
        async with reading(tmp_path / "s") as reader:
            quiet, *kept = reader.texts
    assert quiet == "still there"
    assert 10 < len(kept) < 50
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]


async def test_who_follows_gets_each_line_once_and_the_last_ones_before_the_end(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        readers, written = [], 0
        async with serving(tmp_path / "s", most_bytes=100_000) as book:
            for _ in range(20):
                for _ in range(chance.randint(0, 20)):
                    book.add("default/a", "a-0", f"line {written}")
                    written += 1
                readers.append(await stack.enter_async_context(reading(tmp_path / "s")))
        for reader in readers:
            found = reader.texts
            while text := await reader.next():
                found.append(text)
            assert found == [f"line {number}" for number in range(written)]


async def test_who_does_not_read_is_hung_up_on_and_the_others_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", most_bytes=200_000) as book, reading(tmp_path / "s") as slow, reading(tmp_path / "s") as reader:
        for number in range(200):
            book.add("default/a", "a-0", f"{number} {'x' * 10_000}")
            assert (await reader.next()).startswith(f"{number} ")
        taken = 0
        with contextlib.suppress(ConnectionError):
            while await slow.next():
                taken += 1
        assert taken < 200


def test_a_dev_is_found_by_any_name_of_this_machine_and_only_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    root = local_runs.make_root()
    local_runs.say_where(root, "127.0.0.1:7900")
    ended = tmp_path / "snakepit-999999999-x"
    ended.mkdir()
    local_runs.say_where(ended, "127.0.0.1:7901")
    assert local_runs.running() == {"127.0.0.1:7900": root}
    for name in ("localhost:7900", "[::1]:7900", "dns:///localhost:7900"):
        assert local_runs.at(name, local_runs.running()) == root
    for name in ("localhost:7901", "elsewhere:7900"):
        assert local_runs.at(name, local_runs.running()) is None
    local_runs.make_root()
    assert not ended.exists()


def test_a_dev_that_is_just_writing_where_it_serves_is_none_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked another one for its logs in that moment was told that their server is no address."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    mine = local_runs.make_root()
    (mine / "server").touch()
    assert local_runs.at("127.0.0.1:7800", local_runs.running()) is None
    local_runs.say_where(mine, "localhost:7800")
    assert local_runs.at("127.0.0.1:7800", local_runs.running()) == mine
