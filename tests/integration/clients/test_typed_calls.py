"""Typed calls: through the classes that the command line writes, to a real pool; and what mypy and pyright say of right and wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snakepit.sync
from snakepit import Client
from support.clients import pyright
from support.dev_server import Dev, ready_dev
from support.scripts import imported

ROOT = Path(__file__).resolve().parents[3]

PAGE = ROOT / "docs/typed-calls.md"
RIGHT = """
import asyncio

import snakepit
import snakepit.sync
from made import Notes, SyncNotes


async def main() -> None:
    async with snakepit.Client() as client, client.pool("notes").session() as session:
        notes = session.typed(Notes, timeout=5)
        count: int = await notes.add(text="tea")
        async for line in notes.read():
            print(line.upper(), count + 1)


def blocking() -> None:
    with snakepit.sync.Client() as client, client.pool("notes").session() as session:
        notes = session.typed(SyncNotes)
        count: int = notes.add(text="tea")
        for line in notes.read():
            print(line.upper(), count + 1)
"""

WRONG = {
    'await client.pool("notes").typed(Notes).add(text=3)': "str",
    'await client.pool("notes").typed(Notes).add(txt="tea")': "txt",
    'await client.pool("notes").typed(Notes).add()': "text",
    'await client.pool("notes").typed(Notes).bad()': "bad",
    '(await client.pool("notes").typed(Notes).add(text="tea")).upper()': "upper",
    'blocking.pool("notes").typed(SyncNotes).add(text=3)': "str",
    'blocking.pool("notes").session("ada").typed(SyncNotes).add(text="tea").upper()': "upper",
    'await client.pool("notes").call("add", text="tea")': "text",
}
"""Lines with a mistake, and a word that whoever finds it says."""

AROUND = """
import snakepit
import snakepit.sync
from made import Notes, SyncNotes


async def main(client: snakepit.Client, blocking: snakepit.sync.Client) -> None:
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Dev]:
    with ready_dev(ROOT / "examples/notes/pool.yaml") as program:
        yield program


@pytest.fixture(scope="module")
def folder(server: Dev, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what the command line has written."""
    folder = tmp_path_factory.mktemp("typed")
    command = [Path(sys.executable).with_name("snakepit"), "tools", "notes", "--stubs", "--server", server.server]
    (folder / "made.py").write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (folder / "notes_tools.py").write_text((folder / "made.py").read_text())
    (folder / "right.py").write_text(RIGHT)
    (folder / "documented.py").write_text(PAGE.read_text().partition("```python\n")[2].partition("```")[0])
    (folder / "wrong.py").write_text(AROUND + "".join(f"    {line}\n" for line in WRONG))
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    return imported(folder / "made.py")


async def test_calls_and_streams_through_a_class(server: Dev, made: Any) -> None:
    async with Client(server.server) as client, client.pool("notes").session(delete=True) as session:
        notes = session.typed(made.Notes, timeout=20)
        assert [await notes.add(text="tea"), await notes.add(text="milk")] == [1, 2]
        assert [line async for line in notes.read()] == ["tea", "milk"]
        async for number in notes.ticks():  # it may be left
            assert number == 0
            break
        with pytest.raises(snakepit.DeadlineExceeded):
            await client.pool("notes").typed(made.Notes, timeout=0.2).wait(seconds=60)


def test_calls_and_streams_through_a_class_without_await(server: Dev, made: Any) -> None:
    with snakepit.sync.Client(server.server) as client, client.pool("notes").session(delete=True) as session:
        notes = session.typed(made.SyncNotes, timeout=20)
        assert [notes.add(text="tea"), notes.add(text="milk")] == [1, 2]
        assert list(notes.read()) == ["tea", "milk"]
        assert repr(notes).startswith("snakepit.sync.Session(")


def test_the_documents_program_runs(server: Dev, folder: Path) -> None:
    done = run([sys.executable, "documented.py"], folder, {"SNAKEPIT_SERVER": server.server})
    assert (done.stdout, done.stderr) == ("2 pages 0\n", "")


def mypy(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder / "cache"), name]
    sources = {"MYPYPATH": str(ROOT / "sdk/src")}
    return run(command, folder, sources)


def by_pyright(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    settings = json.dumps({"extraPaths": [str(ROOT / "sdk/src")], "include": [name], "reportUnusedExpression": False})
    (folder / "pyrightconfig.json").write_text(settings)
    return run([*pyright(), "--pythonpath", sys.executable], folder, {})


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", [mypy, by_pyright], ids=["mypy", "pyright"])
def test_the_checkers_pass_what_is_right_and_find_each_mistake(folder: Path, check: Any) -> None:
    right = check(folder, "right.py")
    assert right.returncode == 0, right.stdout + right.stderr
    documented = check(folder, "documented.py")
    assert documented.returncode == 0, documented.stdout + documented.stderr
    wrong = check(folder, "wrong.py")
    first = AROUND.count("\n") + 1
    for number, (line, word) in enumerate(WRONG.items(), first):
        said = [each for each in wrong.stdout.splitlines() if re.search(rf"wrong\.py:{number}\b", each) and "error" in each]
        assert any(word in each for each in said), f"{line}\n{wrong.stdout}{wrong.stderr}"
