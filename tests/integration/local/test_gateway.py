"""The gateway of `snakepit dev`: where it is, what it says, and that it lives and dies with dev."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from snakepit.cli.failures import ExitStatus
from support.dev_server import Dev, dev, pool_file, ready_dev, wait_until
from support.ports import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return pool_file(tmp_path, "sample", "support.sample:Sample", replicas="1")


@pytest.fixture
def running(sample: Path) -> Iterator[Dev]:
    with ready_dev(sample, "--gateway", f"127.0.0.1:{free_port()}") as program:
        yield program


def process(program: Dev) -> int:
    """The gateway's pid."""
    (pid,) = program.running("snakepit_gateway")
    return pid


def is_up(program: Dev) -> bool:
    return httpx.get(f"{program.gateway}/readyz", timeout=30).status_code == 200


def test_the_console_is_the_first_line_and_what_to_do_over_http_and_mcp_the_last(running: Dev) -> None:
    assert running.lines[0].endswith(f"console: {running.gateway}")
    running.says(f"or over MCP: {running.gateway}/mcp/default/sample")
    wait_until(lambda: is_up(running), "it has a link")
    (command,) = [line.partition("or over HTTP: ")[2] for line in running.lines if "or over HTTP: " in line]
    assert subprocess.run(["bash", "-c", f"{command} -sS --fail-with-body"], timeout=60, check=False).returncode == 0, command


def test_one_that_dies_comes_back_and_whoever_asks_meanwhile_waits(running: Dev) -> None:
    wait_until(lambda: is_up(running), "it has a link")
    before = process(running)
    os.kill(before, signal.SIGKILL)
    assert httpx.get(f"{running.gateway}/healthz", timeout=30).status_code == 200
    assert process(running) != before
    running.says("the gateway was killed by signal 9, and is started again")


def test_one_that_cannot_live_is_left_dead_with_its_last_words_and_the_pools_go_on(sample: Path) -> None:
    with dev(sample, "--gateway", f"127.0.0.1:{free_port()}", SNAKEPIT_GATEWAY_CONSOLE="perhaps") as program:
        program.says("3 times in a row, and stays dead", 100)  # each takes an import, which is slow on a busy machine
        program.says("'perhaps': use on or off")
        program.is_ready()
        assert program.output.count("is started again") == 2
        with pytest.raises(httpx.ConnectError):
            httpx.get(program.gateway)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_dev_however_that_ends(running: Dev, number: signal.Signals) -> None:
    wait_until(lambda: is_up(running), "it has a link")
    running.send(number)
    running.wait()
    running.leaves_nothing()
    assert "gateway" not in running.output.partition("over MCP")[2].partition("\n")[2]


def test_an_address_that_was_asked_for_and_is_taken_is_one_sentence(sample: Path, running: Dev) -> None:
    address = running.gateway.removeprefix("http://")
    with dev(sample, "--gateway", address) as program:
        assert program.wait() == ExitStatus.NEVER_STARTED
        assert program.output.count("choose another with --gateway") == 1
        assert address.rpartition(":")[2] in program.output


def test_off_is_none_and_nothing_is_said_of_it(sample: Path) -> None:
    with ready_dev(sample, "--gateway", "off") as program:
        for word in ("console", "HTTP", "MCP"):
            assert word not in program.output
