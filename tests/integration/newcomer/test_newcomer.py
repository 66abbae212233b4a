"""A new user: a fresh environment outside the checkout, and nothing but what README and docs/clients.md say, word by word.

To one's own tool, called from the command line, from Python, curl, grpcurl, Go and Node.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import grpc_tools
import pytest

from support.dev_server import Program, wait_until
from support.go_tools import BUILD_SECONDS, go_tool
from support.pages import SHELL, Block, Shell, blocks, checkout_in, here
from support.ports import free_port
from support.walk import as_shown, steps

HERE = "Your own tool, on this machine"
GREETING = ["Hello, Ada!"]
LETTERS = ["A", "d", "a"]

pytestmark = pytest.mark.timeout(300)


@dataclass
class Newcomer:
    """Who has gone through the README, up to the call; `shell` is the first terminal, in their folder and environment."""

    shell: Shell
    home: Path
    server: str
    dev: Program

    def ran(self, text: str) -> list[str]:
        """The lines that it printed."""
        return self.shell.run(text).stdout.splitlines()

    def fails(self, text: str) -> str:
        """What it said, both ways; it has to end with another status than 0."""
        done = self.shell.run(text, check=False)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr


def is_start(block: Block) -> bool:
    return block.text.startswith("snakepit dev ")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("newcomer")
    server, gateway = (f"127.0.0.1:{free_port()}" for _ in range(2))
    start = f"exec snakepit dev pool.yaml --listen {server} --gateway {gateway}"
    instead = {"~/": f"{folder}/", **here(server, gateway), "snakepit dev pool.yaml": start}
    shell = Shell(checkout_in(folder), folder / "state", instead, SNAKEPIT_SERVER=server, COLUMNS="200")
    todo = iter(steps("README.md", HERE))
    for block, _ in takewhile(lambda step: not is_start(step[0]), todo):
        if block.file:
            shell.put(block)
        else:
            shell.run(block.text)
    dev = Program("bash", "-c", f". {folder}/state; {start}", cwd=shell.folder)
    try:
        shown, _ = next(todo)
        for line in shown.text.splitlines():
            dev.says(shell.read(line))
        yield Newcomer(shell, folder, server, dev)
    finally:
        dev.end()


def test_the_command_comes_from_the_environment_that_the_readme_makes(newcomer: Newcomer) -> None:
    assert newcomer.ran("command -v snakepit python") == [f"{newcomer.home}/hello/.venv/bin/{name}" for name in ("snakepit", "python")]
    where = newcomer.ran("python -c 'import snakepit, snakepit_local; print(snakepit.__file__, snakepit_local.__file__)'")
    assert where[0].count(f"{newcomer.home}/hello/.venv/lib/") == 2


AFTER_THE_START = [each for each in steps("README.md", HERE) if each[0].language == SHELL and each[1] and not is_start(each[0])]


@pytest.mark.parametrize(("block", "shown"), [pytest.param(*each, id=each[0].text.partition(" /")[0]) for each in AFTER_THE_START])
def test_what_the_readme_has_typed_prints_what_it_shows(newcomer: Newcomer, block: Block, shown: Block) -> None:
    done = newcomer.shell.run(block.text, check=False)
    assert as_shown(newcomer.shell.read(shown.text), done.stdout + done.stderr), done.stdout + done.stderr
    assert (done.returncode == 0) == ("started: no" not in shown.text)


def test_the_console_is_where_the_first_line_says(newcomer: Newcomer) -> None:
    page = newcomer.ran(f"curl -s --fail-with-body {newcomer.dev.lines[0].partition('console: ')[2]}")
    assert "default/greetings" in "".join(page)


def test_the_tools_state_is_what_it_wrote_in_the_session(newcomer: Newcomer) -> None:
    newcomer.ran("python caller.py")
    before = json.loads("".join(newcomer.ran("snakepit session state default/greetings ada -o json")))
    newcomer.ran("python caller.py")
    after = json.loads("".join(newcomer.ran("snakepit session state default/greetings ada -o json")))
    assert after["greeted"] == before["greeted"] + 1


# ---- other languages: docs/clients.md


@pytest.fixture(scope="module")
def proto(newcomer: Newcomer) -> Path:
    """A folder with `proto`, as that page gets it."""
    newcomer.shell.run(f'export PATH="{go_tool("grpcurl").parent}:$PATH"; mkdir -p ~/clients')
    (block,) = blocks("docs/clients.md", "sh", "The contract, without a clone")
    newcomer.shell.run(f"(cd ~/clients; {block.text})")
    return newcomer.home / "clients"


@pytest.fixture
def contract(newcomer: Newcomer, proto: Path) -> Iterator[Path]:
    """There the first terminal is, for a test."""
    before, newcomer.shell.folder = newcomer.shell.folder, proto
    yield proto
    newcomer.shell.folder = before


@pytest.mark.timeout(BUILD_SECONDS + 120)
def test_the_page_for_other_languages_calls_from_the_shell(newcomer: Newcomer, contract: Path) -> None:
    (block,) = blocks("docs/clients.md", "sh", "The shell")
    assert re.findall(r'"json": "(.*)"', "\n".join(newcomer.ran(block.text))) == [*GREETING, *LETTERS]
    wrong = newcomer.shell.run(block.text.replace('"greet"', '"greeet"'), check=False)
    assert wrong.returncode != 0
    assert "TOOL_NOT_FOUND" in wrong.stderr


def program(newcomer: Newcomer, contract: Path, heading: str) -> tuple[Block, Block]:
    """All of a section is done but its last block, the one that runs the program; that and the program."""
    *before, last = blocks("docs/clients.md", heading=heading)
    (source,) = [each for each in before if each.file]
    shell = newcomer.shell
    for block in before:
        if block.file:
            (contract / block.file).write_text(shell.read(block.text))
        else:
            shell.run(block.text)
    return last, source


def runs_and_fails_as_it_should(newcomer: Newcomer, contract: Path, last: Block, source: Block) -> None:
    quoted = [f'"{each}"' for each in (*GREETING, *LETTERS)]
    lines = [line.strip('"') for line in newcomer.ran(last.text)]
    assert lines == [each.strip('"') for each in quoted]
    text = newcomer.shell.read(source.text)
    for old, new, words in [
        ("default/greetings", "default/greetigns", ("POOL_NOT_FOUND", "default/greetigns")),
        ("greet", "greeet", ("TOOL_NOT_FOUND", "greeet")),
    ]:
        quotes = "'" if source.file.endswith(".js") else '"'
        (contract / source.file).write_text(text.replace(f"{quotes}{old}{quotes}", f"{quotes}{new}{quotes}"))
        said = newcomer.fails(last.text.splitlines()[-1])
        assert words[1] in said
    (contract / source.file).write_text(text)


@pytest.fixture
def in_go(newcomer: Newcomer, contract: Path) -> None:
    """Its caches are this user's; `protoc` is the one of grpcio-tools."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        pytest.skip("the program in Go is not tried: there is no Go here")
    found = subprocess.run([go, "env", "GOMODCACHE", "GOCACHE"], capture_output=True, text=True, check=True).stdout.split()
    tools = contract / "tools"
    tools.mkdir()
    protoc = f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@" -I{Path(grpc_tools.__file__).parent}/_proto\n'
    (tools / "protoc").write_text(protoc)
    (tools / "protoc").chmod(0o755)
    newcomer.shell.run(
        f"export GOPATH={contract}/go GOMODCACHE={found[0]} GOCACHE={found[1]} GOFLAGS='-trimpath -modcacherw' "
        f'PATH="{tools}:{Path(go).parent}:$PATH"'
    )


@pytest.mark.timeout(BUILD_SECONDS + 120)
def test_the_page_for_other_languages_calls_from_go(newcomer: Newcomer, contract: Path, in_go: None) -> None:
    last, source = program(newcomer, contract, "Go")
    runs_and_fails_as_it_should(newcomer, contract, last, source)


@pytest.mark.timeout(BUILD_SECONDS + 120)
def test_the_page_for_other_languages_calls_from_node(newcomer: Newcomer, contract: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("the program in Node is not tried: there is no npm here")
    newcomer.shell.run(
        "export npm_config_prefer_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false"
    )
    last, source = program(newcomer, contract, "Node")
    runs_and_fails_as_it_should(newcomer, contract, last, source)


# ---- mistakes on the way: what the message has to say, not how


CALL = "snakepit call default/greetings"
TYPED = {
    "a typo in the pool": ("snakepit call default/greetngs greet name=Ada", "POOL_NOT_FOUND", "default/greetngs", "default/greetings"),
    "a typo in the tool": (f"{CALL} gret name=Ada", "TOOL_NOT_FOUND", "'gret'", "greet"),
    "an argument that is not there": (f"{CALL} greet nam=Ada", "INVALID_ARGUMENTS", "`nam`", "`name`"),
    "an argument that is missing": (f"{CALL} greet", "INVALID_ARGUMENTS", "`name`", "missing"),
    "no server": ("snakepit pools --server 127.0.0.1:1", "SERVER_UNAVAILABLE", "127.0.0.1:1", "snakepit dev"),
    "a port that is taken": ("snakepit dev pool.yaml", "in use", "--listen"),
    "a pool file that is not there": ("snakepit dev pol.yaml", "pol.yaml", "No such file"),
    "a file that is no YAML": ("echo 'kind: [' > bad.yaml; snakepit dev bad.yaml", "bad.yaml", "not YAML", "line 2"),
    "the path of a file as the adapter": (
        "sed s+greetings.tools:+greetings/tools.py:+ pool.yaml > path.yaml; snakepit dev path.yaml",
        "greetings/tools.py:Greetings",
        "package.module:Class",
    ),
    "another kind": ("sed s/SnakePool/Deployment/ pool.yaml > kind.yaml; snakepit dev kind.yaml", "no SnakePool", "kind: SnakePool"),
    "a typo in a field": ("sed s/replicas/replica/ pool.yaml > field.yaml; snakepit dev field.yaml", '"spec.replica"', '"replicas"'),
    "arguments as keywords": (
        "python -c \"from snakepit.sync import Client\nwith Client('localhost:7800') as c: c.pool('greetings').call('greet', name='Ada')\"",
        "'name'",
        "one mapping",
    ),
    "a timeout that is text": (
        "python -c \"from snakepit.sync import Client\nwith Client('localhost:7800') as c:c.pool('greetings').call('spell', timeout='5')\"",
        "timeout '5'",
        "number of seconds",
    ),
    "an unopened client": (
        "python -c \"import asyncio, snakepit; asyncio.run(snakepit.Client('localhost:7800').pool('greetings').call('greet'))\"",
        "not open",
        "async with",
    ),
    "an unopened client, without async": (
        "python -c \"from snakepit.sync import Client; Client('localhost:7800').pool('greetings').call('greet')\"",
        "not open",
        "with",
    ),
}


@pytest.mark.parametrize("mistake", TYPED)
def test_a_mistake_is_told_with_what_was_meant(newcomer: Newcomer, mistake: str) -> None:
    line, *words = TYPED[mistake]
    listen = newcomer.server if line == "snakepit dev pool.yaml" else f"127.0.0.1:{free_port()}"
    said = newcomer.fails(line.replace("snakepit dev ", f"exec snakepit dev --listen {listen} "))
    for word in words:
        assert word in said


def test_text_that_looks_like_a_number_is_text_where_the_tool_takes_text(newcomer: Newcomer) -> None:
    assert newcomer.ran(f"{CALL} greet name=42") == ["Hello, 42!"]


ADAPTERS = {
    "a typo in the class": ("greetings.tools:Greting", "Greting", "Greetings"),
    "a dot before the class": ("greetings.tools.Greetings", "greetings.tools.Greetings", "greetings.tools"),
    "a typo in the module": ("greeting.tools:Greetings", "greeting"),
    "a missing library": ("wrong.imports:Wrong", "pandaz"),
    "an exception in setup": ("wrong.raises:Wrong", "FileNotFoundError", "/no/model"),
}
WRONG = {
    "imports": "import pandaz\n",
    "raises": """
from snakepit import Adapter, tool
class Wrong(Adapter):
    def setup(self):
        open("/no/model")
    @tool
    def nap(self) -> int: ...
""",
    "tools": """
import time
from snakepit import Adapter, tool
class Wrong(Adapter):
    @tool
    def nap(self) -> int:
        time.sleep(30)
    @tool
    def big(self) -> bytes:
        return b"x" * 70_000_000
    @tool
    def look(self) -> None:
        print("here I am")
    @tool
    def fail(self) -> None:
        raise LookupError("nothing there")
""",
}


@pytest.fixture(scope="module")
def wrong(newcomer: Newcomer) -> Path:
    folder = newcomer.shell.folder / "wrong"
    folder.mkdir()
    for name, text in WRONG.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@contextlib.contextmanager
def another(newcomer: Newcomer, adapter: str) -> Iterator[tuple[Program, str]]:
    """`snakepit dev` with the README's pool and another adapter, and its address."""
    file, server = newcomer.shell.folder / "another.yaml", f"127.0.0.1:{free_port()}"
    file.write_text((newcomer.shell.folder / "pool.yaml").read_text().replace("greetings.tools:Greetings", adapter).replace("s: 2", "s: 1"))
    start = f". {newcomer.home}/state; exec snakepit dev {file} --listen {server} --gateway off"
    program = Program("bash", "-c", start, cwd=newcomer.shell.folder)
    try:
        yield program, server
    finally:
        program.end()


@pytest.mark.parametrize("mistake", ADAPTERS)
def test_what_keeps_an_adapter_from_starting_is_told_where_it_was_started(newcomer: Newcomer, wrong: Path, mistake: str) -> None:
    adapter, *words = ADAPTERS[mistake]
    with another(newcomer, adapter) as (program, _):
        program.says("can't start")
        wait_until(lambda: all(word in program.output for word in words), f"{words} in\n{program.output[:2000]}")


def test_what_goes_wrong_in_a_tool_is_told_to_its_caller(newcomer: Newcomer, wrong: Path) -> None:
    with another(newcomer, "wrong.tools:Wrong") as (program, server):
        program.says("ready: the control plane is at")
        for line, *words in [
            ("nap --timeout 4", "DEADLINE", "nap", "started: yes"),
            ("big", "PAYLOAD_TOO_LARGE", "maxLargePayloadBytes", "67108864", "started: yes"),
            ("fail", "LookupError", "nothing there"),
        ]:
            said = newcomer.fails(f"snakepit call greetings {line} --server {server}")
            for word in words:
                assert word in said
        newcomer.ran(f"snakepit call greetings look --server {server}")
        program.says("look: here I am")
