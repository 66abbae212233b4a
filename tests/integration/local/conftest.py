"""One `snakepit dev` for the tests of a module: pool `sample` of two capsules, and `tiny` with one worker and a queue of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from snakepit import Client, Pool
from snakepit.cli.app import run
from support.dev_server import Dev, pool_file, ready_dev

Command = Callable[..., tuple[int, str, str]]
"""Of words: the exit status, and what there is on stdout and stderr."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("pools")
    sample = pool_file(folder, "sample", "support.sample:Sample", worker="processes: 2", replicas="2")
    tiny = pool_file(folder, "tiny", "support.sample:Sample", replicas="1", queue="{maxSize: 1, timeoutSeconds: 2}")
    with ready_dev(sample, tiny) as program:
        yield program


@pytest.fixture
async def client(server: Dev) -> AsyncIterator[Client]:
    async with Client(server.server) as client:
        yield client


@pytest.fixture
def pool(client: Client) -> Pool:
    return client.pool("sample")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Command:
    """`snakepit` with these words, in the test's process."""

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def snakepit(server: Dev, typed: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same, of whom that server is."""
    monkeypatch.setenv("SNAKEPIT_SERVER", server.server)
    return typed
