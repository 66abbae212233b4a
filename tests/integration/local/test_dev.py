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
SLOW_TO_END = "{timeoutSeconds: 60, killAfterSeconds: 1}"


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
            running = asyncio.create_task(pool.call("sleep", {"seconds": 4.0}, timeout=30))
            async with asyncio.timeout(20):
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
        program.send(signal.SIGINT)
        assert program.wait(30) == 130
        program.leaves_nothing()
        caller.join(20)
        assert not caller.is_alive()


def _busy(server: str) -> bool:
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
        assert asyncio.run(visit(program.server)) < 8
