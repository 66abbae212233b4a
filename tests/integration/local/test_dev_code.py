"""The author's code under `snakepit dev`: what can't start, dies or raises is told in the author's terms, and what changes is taken in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import snakepit
from snakepit import Client, sync
from support.dev_server import dev, pool_file, wait_until


def adapter(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(f"from snakepit import Adapter, Context, tool\n\n{text}")
    return name


RAISES = """
class A(Adapter):
    def setup(self):
        raise OSError("the model is missing")

    @tool
    def f(self): ...
"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("class Adapter_:\n    pass\n", "module 'broken' has no 'A'"),
        ("class A(Adapter):\n    pass\n", "no tools"),
        (RAISES, "the model is missing"),
    ],
    ids=["import", "class", "tools", "setup"],
)
def test_an_adapter_that_cant_start_is_reported_with_its_own_error(tmp_path: Path, text: str, sentence: str) -> None:
    name = adapter(tmp_path, "broken", text)

    async def call(server: str) -> None:
        async with Client(server) as client:
            await client.pool("broken").call("f", timeout=10)

    with dev(pool_file(tmp_path, "broken", f"{name}:A", replicas="1")) as program:
        program.says("a worker can't start")
        told = next(line for line in program.lines if "a worker can't start" in line)
        assert sentence in told, program.output
        assert told.endswith("(it is tried again, at once when you save)")
        with sync.Client(program.server) as client:
            wait_until(lambda: sentence in client.pool("broken").info().message, "the control plane knows too")
        with pytest.raises(snakepit.PoolNotReady, match=sentence):
            asyncio.run(call(program.server))
        adapter(tmp_path, name, "class A(Adapter):\n    @tool\n    def mended(self) -> None: ...\n")
        program.says("try: snakepit call default/broken mended")


DEEP = """
def load():
    raise OSError("the model is missing")

class A(Adapter):
    def setup(self):
        load()

    @tool
    def f(self): ...
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [("import nothing_of_that_name\n", 6), (DEEP, 7), ("class B(Adapter):\n    pass\n", 1)],
    ids=["import", "setup", "class"],
)
def test_what_cant_start_is_said_once_with_the_authors_frames_and_then_nothing(tmp_path: Path, text: str, lines: int) -> None:
    name = adapter(tmp_path, "broken", text)
    with dev(pool_file(tmp_path, "broken", f"{name}:A", worker="processes: 2", replicas="2"), "--watch") as program:
        program.says("a worker can't start")
        with sync.Client(program.server) as client:
            wait_until(lambda: sum(each.restarts for each in client.pool("broken").workers()) >= 12, "each worker has tried again")
        said = [line for line in program.lines if "starting capsule" not in line and "is not available" not in line]
        assert len(said) <= lines, program.output
        assert program.output.count("can't start") == 1
        for ours in ("snakepit_worker", "snakepit/", "importlib", "exit code 1", "somebody asked"):
            assert ours not in program.output.replace("snakepit_worker,", ""), program.output


def test_a_signal_in_a_tool_names_the_authors_line_once(tmp_path: Path) -> None:
    name = adapter(tmp_path, "crashing", "import ctypes\n\n@tool\ndef crash() -> None:\n    ctypes.string_at(0)\n")
    with dev(pool_file(tmp_path, "crashing", name, replicas="1")) as program:
        program.is_ready()
        with sync.Client(program.server) as client, pytest.raises(snakepit.WorkerLost):
            client.pool("crashing").call("crash", timeout=10)
        program.says("its last line of Python: ")
        said = next(line for line in program.lines if "its last line of Python: " in line)
        assert f"{tmp_path}/crashing.py, line 7, in crash (which had called " in said
        assert "was started again" not in program.output


def test_what_a_tool_raises_is_read_in_the_terminal_with_the_authors_frames(tmp_path: Path) -> None:
    name = adapter(tmp_path, "raising", "@tool\ndef fail(text: str) -> None:\n    raise LookupError(text)\n")
    with dev(pool_file(tmp_path, "raising", name, replicas="1")) as program:
        program.is_ready()
        with sync.Client(program.server) as client, client.pool("raising").session("ada") as session, pytest.raises(snakepit.ToolError):
            session.call("fail", {"text": "nothing there"}, timeout=10)
        program.says("LookupError: nothing there (call ")
        begin = next(number for number, line in enumerate(program.lines) if "raised LookupError" in line)
        wait_until(lambda: len(program.lines) >= begin + 5, "the traceback")
        said = [line.partition(" | ")[2] for line in program.lines[begin : begin + 5]]
        assert said[0].startswith("fail [ada]: ERROR: raised LookupError: nothing there (call ")
        assert [said[1], said[3].strip(), said[4]] == [
            "Traceback (most recent call last):",
            "raise LookupError(text)",
            "LookupError: nothing there",
        ]


CHANGING = """
class A(Adapter):
    @tool
    def say(self) -> str:
        return {!r}

    @tool
    def keep(self, value: str, *, ctx: Context) -> int:
        return ctx.state.set("kept", value)

    @tool
    def kept(self, *, ctx: Context) -> str:
        return ctx.state.get("kept") + {!r}
"""


def test_changed_code_replaces_workers_keeps_sessions_and_broken_code_replaces_nothing(tmp_path: Path) -> None:
    name = adapter(tmp_path, "changing", CHANGING.format("old", "!"))
    file = pool_file(tmp_path, "changing", f"{name}:A", worker="processes: 2", replicas="1")
    with dev(file, "--watch") as program:
        program.is_ready()
        with sync.Client(program.server) as client:
            pool, session = client.pool("changing"), client.pool("changing").session("ada")
            session.create()
            session.call("keep", {"value": "mine"})
            before = {worker.id: worker.pid for worker in pool.workers()}
            adapter(tmp_path, name, "def f(:\n    pass\n")
            program.says(f"its code is broken, so its workers stay as they are: {name}.py, line 3: invalid syntax")
            adapter(tmp_path, name, "import nothing_of_that_name\n")
            program.says("nothing_of_that_name")
            assert pool.call("say", timeout=10) == "old"
            assert {worker.id: worker.pid for worker in pool.workers()} == before
            adapter(tmp_path, name, CHANGING.format("brand new", "?"))
            wait_until(lambda: pool.call("say", timeout=10) == "brand new", "the new code answers")
            program.says("reloaded in ")
            wait_until(lambda: session.call("kept", timeout=10) == "mine?", "the session goes on under the new code")
            wait_until(lambda: not {worker.pid for worker in pool.workers()} & set(before.values()), "no old worker is left")
            assert {worker.id for worker in pool.workers()} == set(before)
        after = program.lines[next(n for n, line in enumerate(program.lines) if "ready: the control" in line) :]
        assert sum("reloaded in " in line for line in after) == 1
        assert ["(the workers of before go on)" in line for line in after if "a worker can't start" in line] == [True]
        assert not [line for line in after if "was started again" in line or "has changed" in line or "ended" in line], program.output


def test_a_pool_file_that_is_saved_is_not_taken_up_and_says_so(tmp_path: Path) -> None:
    name = adapter(tmp_path, "changing", CHANGING.format("old", "!"))
    file = pool_file(tmp_path, "changing", f"{name}:A", worker="processes: 2", replicas="1")
    with dev(file, "--watch") as program:
        program.is_ready()
        file.write_text(file.read_text().replace("processes: 2", "processes: 1"))
        program.says(f"pool default/changing: {file.name} has changed: start `snakepit dev` again to run that")
        adapter(tmp_path, name, CHANGING.format("brand new", "?"))
        program.says("reloaded in ")
        assert program.output.count("has changed") == 1


def test_a_reload_that_worked_is_one_line(tmp_path: Path) -> None:
    name = adapter(tmp_path, "changing", CHANGING.format("old", "!"))
    with dev(pool_file(tmp_path, "changing", f"{name}:A", worker="processes: 2", replicas="1"), "--watch") as program:
        program.is_ready()
        program.says("try: ")
        before = len(program.lines)
        adapter(tmp_path, name, CHANGING.format("brand new", "?"))
        program.says("pool default/changing: reloaded in ")
        with sync.Client(program.server) as client:
            assert client.pool("changing").call("say", timeout=10) == "brand new"
            wait_until(lambda: len(client.pool("changing").workers()) == 2, "the old ones have ended")
        assert len(program.lines) == before + 1, program.output
