"""What workers have printed: kept within bounds, read back in order, and followed over the change of files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from snakepit_local import folder
from snakepit_local.folder import Logbook, LogLine, pools, read_logs


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_lines_come_back_with_their_time_and_capsule_and_tabs_of_their_own(tmp_path: Path) -> None:
    book = Logbook(tmp_path, ["default/a", "team/b"])
    book.add("default/a", "a-0", "one\ttwo")
    book.add("team/b", "b-0", "three")
    book.close()
    assert pools(tmp_path) == ["default/a", "team/b"]
    (line,) = next(read_logs(tmp_path, ["default/a"]))
    assert (line.capsule, line.text) == ("a-0", "one\ttwo")
    assert line.time.endswith("Z")
    assert texts(next(read_logs(tmp_path, pools(tmp_path)))) == ["one\ttwo", "three"]


def test_a_pool_never_has_more_than_two_full_files_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    book = Logbook(tmp_path, ["default/a"], most_bytes=1000)
    for number in range(1000):
        book.add("default/a", "a-0", f"line {number}")
        assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) <= 2000
    kept = texts(next(read_logs(tmp_path, ["default/a"])))
    assert 10 < len(kept) < 100
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]
    book.close()


def test_who_follows_gets_each_line_once_over_every_change_of_files(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    book = Logbook(tmp_path, ["default/a"], most_bytes=2000)
    following = read_logs(tmp_path, ["default/a"])
    written, found = 0, texts(next(following))
    for _ in range(200):
        for _ in range(chance.randint(0, 20)):  # fewer than a file has room for
            book.add("default/a", "a-0", f"line {written}")
            written += 1
        found += texts(next(following))
    assert found == [f"line {number}" for number in range(written)]
    book.close()


def test_following_ends_when_the_folder_goes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    book = Logbook(root, ["default/a"])
    following = read_logs(root, ["default/a"])
    assert next(following) == []
    book.add("default/a", "a-0", "the last")
    book.close()
    for path in (*(root / "logs").iterdir(), root / "logs", root):
        path.rmdir() if path.is_dir() else path.unlink()
    assert texts(next(following)) == ["the last"]
    with pytest.raises(StopIteration):
        next(following)


def test_a_full_disk_is_no_reason_to_end(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/default+a.log").symlink_to("/dev/full")
    book = Logbook(tmp_path, ["default/a"])
    book.add("default/a", "a-0", "lost")
    book.close()


def test_a_dev_is_found_by_any_name_of_this_machine_and_only_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    root = folder.make_root()
    folder.say_where(root, "127.0.0.1:7900")
    ended = tmp_path / "snakepit-999999999-x"
    ended.mkdir()
    folder.say_where(ended, "127.0.0.1:7901")
    assert folder.running() == {"127.0.0.1:7900": root}
    for name in ("localhost:7900", "[::1]:7900", "dns:///localhost:7900"):
        assert folder.at(name, folder.running()) == root
    for name in ("localhost:7901", "elsewhere:7900"):
        assert folder.at(name, folder.running()) is None
    folder.make_root()
    assert not ended.exists()
