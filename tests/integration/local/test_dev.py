"""The life of `snakepit dev` itself: what it says, what it refuses, and that whatever ends it leaves no process behind."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import snakepit
from snakepit import Client, sync
from snakepit.cli.failures import ExitStatus
from support.dev_server import Program, dev, pool_file, wait_until
from support.ports import free_port
from support.redis_server import RedisServer, binaries

DEMO = Path(__file__).parents[3] / "examples" / "digits" / "demo"
SLOW_TO_END = "{timeoutSeconds: 20, killAfterSeconds: 1}"


def adapter(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(f"from snakepit import Adapter, Context, tool\n\n{text}")
    return name


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return pool_file(tmp_path, "sample", "support.sample:Sample", replicas="1")


def test_it_says_where_it_is_and_what_to_try(sample: Path) -> None:
    with dev(sample) as program:
        program.is_ready()
        program.says("try: snakepit call default/sample")
        command = next(line for line in program.lines if "try: " in line).partition("try: snakepit ")[2].split()
        call = Program(sys.executable, "-m", "snakepit.cli", *command)
        assert call.wait() == 0, call.output
        call.end()


def test_ctrl_c_ends_everything_with_130(sample: Path) -> None:
    with dev(sample) as program:
        program.is_ready()
        program.send(signal.SIGINT)
        assert program.wait() == 130
        program.leaves_nothing()
        assert "Traceback" not in program.output


def test_term_lets_a_running_call_finish_and_ends_with_0(sample: Path) -> None:
    async def call(server: str) -> object:
        async with Client(server) as client:
            pool = client.pool("sample")
            running = asyncio.create_task(pool.call("sleep", {"seconds": 1.0}, timeout=10))
            async with asyncio.timeout(10):
                while (await pool.info()).busy_slots != 1:
                    await asyncio.sleep(0.005)
            program.send(signal.SIGTERM)
            return await running

    with dev(sample) as program:
        program.is_ready()
        assert asyncio.run(call(program.server)) == "slept"
        assert program.wait() == 0
        program.leaves_nothing()


def test_a_second_ctrl_c_does_not_wait_for_running_calls(tmp_path: Path) -> None:
    sample = pool_file(tmp_path, "sample", "support.sample:Sample", replicas="1", drain=SLOW_TO_END)

    async def call(server: str) -> None:
        async with Client(server) as client:
            with pytest.raises(snakepit.SnakepitError):
                await client.pool("sample").call("sleep", {"seconds": 60}, timeout=60)

    with dev(sample) as program:
        program.is_ready()
        caller = threading.Thread(target=asyncio.run, args=(call(program.server),))
        caller.start()
        wait_until(lambda: _busy(program.server), "the call runs")
        program.send(signal.SIGINT)
        program.says("stopping")
        began = time.monotonic()
        program.send(signal.SIGINT)
        assert program.wait(15) == 130
        assert time.monotonic() - began < 8
        program.leaves_nothing()
        caller.join(20)
        assert not caller.is_alive()


def _busy(server: str) -> bool:
    from snakepit import sync

    with sync.Client(server) as client:
        return bool(client.pool("sample").info().busy_slots)


def test_a_killed_dev_leaves_no_process(sample: Path) -> None:
    with dev(sample) as program:
        program.is_ready()
        assert len(program.descendants()) >= 4
        program.send(signal.SIGKILL)
        program.wait()
        program.leaves_nothing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_a_signal_at_any_moment_leaves_no_process_and_no_traceback(sample: Path, number: signal.Signals) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(3):
        with dev(sample) as program:
            program.says("starting capsule")
            time.sleep(chance.uniform(0.0, 1.5))  # the moment is what is tried
            program.send(number)
            assert program.wait() == (130 if number is signal.SIGINT else 0), program.output
            program.leaves_nothing()
            assert "Traceback" not in program.output, program.output


def test_ctrl_c_at_any_moment_of_the_demo_leaves_no_process(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(3):
        program = Program(sys.executable, str(DEMO))
        try:
            program.says("A pool of warm workers")
            time.sleep(chance.uniform(0.0, 4.0))  # the moment is what is tried
            program.send(signal.SIGINT)
            assert program.wait() in (130, 0), program.output
            program.leaves_nothing()
            assert "Traceback" not in program.output, program.output
        finally:
            program.end()


def test_a_port_that_is_taken_is_said_in_one_sentence(sample: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        program = Program(sys.executable, "-m", "snakepit.cli", "dev", str(sample), "--listen", f"127.0.0.1:{port}")
        try:
            assert program.wait() == ExitStatus.NEVER_STARTED
            assert len(program.lines) == 1, program.output
            assert f"port {port}" in program.output
            assert "--listen" in program.output
        finally:
            program.end()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"worker": "proceses: 1"}, 'strict decoding error: unknown field "spec.worker.proceses" (did you mean "processes"?)'),
        ({"replicas": "many"}, 'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
        (
            {"affinity": "sticky"},
            'Unsupported value: "sticky": supported values: "hint", "strict_fail_fast", "strict_queue"',
        ),
    ],
    ids=["field", "type", "value"],
)
def test_a_wrong_pool_file_is_refused_in_the_api_servers_words(tmp_path: Path, spec: dict[str, str], sentence: str) -> None:
    with dev(pool_file(tmp_path, "wrong", "support.sample:Sample", **spec)) as program:
        assert program.wait() == ExitStatus.USAGE
        assert sentence in program.output
        assert "wrong.yaml" in program.output


def test_a_pool_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with dev(tmp_path / "nowhere.yaml") as program:
        assert program.wait() == ExitStatus.USAGE
        assert "nowhere.yaml can't be read: No such file or directory" in program.output


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
        with sync.Client(program.server) as client:
            wait_until(lambda: sentence in client.pool("broken").info().message, "the control plane knows too")
        with pytest.raises(snakepit.PoolNotReady, match=sentence):
            asyncio.run(call(program.server))


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


def test_sessions_survive_the_end_of_everything_but_redis(tmp_path: Path, sample: Path) -> None:
    redis = RedisServer(binaries()["redis"], tmp_path)
    redis.start()

    async def visit(server: str) -> int:
        async with Client(server) as client:
            session = client.pool("sample").session("visitor")
            await session.create()
            count = await session.state.get("count", 0) + 1
            return int(await session.call("remember", {"key": "count", "value": count}, timeout=10))

    try:
        for expected in (1, 2):
            with dev(sample, "--store", redis.url) as program:
                program.is_ready()
                assert asyncio.run(visit(program.server)) == expected
                program.send(signal.SIGKILL)
                program.wait()
                program.leaves_nothing()
    finally:
        redis.kill()


def test_without_redis_calls_go_on_and_sessions_fail_at_once(sample: Path) -> None:
    async def visit(server: str) -> float:
        async with Client(server) as client:
            pool = client.pool("sample")
            assert await pool.call("echo", {"value": 1}, timeout=10) == 1
            began = time.monotonic()
            with pytest.raises(snakepit.StoreUnavailable):
                await pool.session("visitor").create()
            return time.monotonic() - began

    with dev(sample, "--store", f"redis://127.0.0.1:{free_port()}/0") as program:
        program.is_ready()
        assert asyncio.run(visit(program.server)) < 3
