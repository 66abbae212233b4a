"""Each line that the documents install something with, in a fresh environment that already has pandas and a protobuf of long ago."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit import _extras
from support.dev_server import Program, pool_file
from support.pages import ROOT, Shell, blocks, checkout_in
from support.ports import free_port

OLD = "3.20.3"
QUICK = {"PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": ""}
"""Compiled is what runs, once."""
THEIRS = ("pandas", f"protobuf=={OLD}")
LINES = {
    "all": "pip install dist/*.whl",
    "image": "pip install dist/snakepit_sdk-*.whl dist/snakepit_worker-*.whl",
    "caller": "pip install 'dist/snakepit_sdk-0.1.0-py3-none-any.whl[client]'",
    "command line": "pip install 'dist/snakepit_sdk-0.1.0-py3-none-any.whl[cli]'",
}
WHERE = {
    "all": ("README.md", "docs/author.md", "docs/local-mode.md"),
    "image": ("docs/author.md", "docs/operations.md"),
    "caller": ("docs/caller.md",),
    "command line": ("docs/caller.md",),
}
TOOLS = """
import google.protobuf
import pandas

from snakepit import Adapter, tool


class Frames(Adapter):
    @tool
    def total(self, numbers: list[int]) -> int:
        return int(pandas.DataFrame({"number": numbers})["number"].sum())

    @tool
    def versions(self) -> list[str]:
        return [pandas.__version__, google.protobuf.__version__]
"""
IN_A_WORKER = """
import importlib.util

import snakepit_worker.testing

from tools import Frames

if __name__ == "__main__":
    with snakepit_worker.testing.start(Frames) as worker:
        print(worker.call("total", {"numbers": [1, 2]}), worker.call("versions")[1], importlib.util.find_spec("grpc"))
"""
CALLING = """
import google.protobuf
import pandas
from snakepit.sync import Client

with Client() as client:
    print(client.pool("frames").call("total", {"numbers": pandas.Series([1, 2]).tolist()}, timeout=20), google.protobuf.__version__)
"""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installing")
    checkout = checkout_in(folder)
    Shell(checkout, folder / "state", {}).run("make wheels")
    return checkout


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of an environment as somebody has it; fetched and unpacked once, and linked into each."""
    folder = tmp_path_factory.mktemp("theirs")
    venv.create(folder, with_pip=True, symlinks=True)
    for command in (["pip", "install", "-q", *THEIRS], ["python", "-c", "import google.protobuf, pandas"]):
        subprocess.run([folder / "bin" / command[0], *command[1:]], env={**os.environ, **QUICK}, check=True, timeout=240)
    (packages,) = folder.glob("lib/python*/site-packages")
    return packages


class Environment:
    """A fresh one, with what somebody has."""

    def __init__(self, folder: Path, theirs: Path) -> None:
        self.folder = folder
        programs = folder / ".venv/bin"
        venv.create(folder / ".venv", symlinks=True)
        (packages,) = (folder / ".venv/lib").glob("python*/site-packages")
        subprocess.run(["cp", "-rl", f"{theirs}/.", str(packages)], check=True)
        (programs / "pip").write_text(f"#!{programs}/python\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n")
        (programs / "pip").chmod(0o755)
        self.environment = {**os.environ, **QUICK, "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}
        self.environment.pop("PYTHONPATH", None)
        (folder / "tools.py").write_text(TOOLS)

    def run(self, line: str, cwd: Path | None = None) -> str:
        done = self._ended(line, cwd or self.folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fails(self, line: str) -> str:
        done = self._ended(line, self.folder)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _ended(self, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", line], cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def environment(tmp_path: Path, theirs: Path) -> Environment:
    return Environment(tmp_path, theirs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, theirs: Path, checkout: Path) -> Iterator[tuple[Environment, str]]:
    """An author's, with `snakepit dev` running in it, and its address."""
    environment = Environment(tmp_path_factory.mktemp("author"), theirs)
    environment.run(LINES["all"], checkout)
    server = f"127.0.0.1:{free_port()}"
    pool = pool_file(environment.folder, "frames", "tools:Frames", replicas="1")
    start = f"exec snakepit dev {pool} --listen {server}"
    dev = Program("bash", "-c", start, cwd=environment.folder, PATH=environment.environment["PATH"])
    try:
        dev.says("ready: the control plane is at", 120)
        yield environment, server
    finally:
        dev.end()


@pytest.mark.parametrize("who", LINES)
def test_the_pages_have_this_line(who: str) -> None:
    for page in WHERE[who]:
        typed = [line.partition(" #")[0].strip() for block in blocks(page, "sh") for line in block.text.splitlines()]
        assert LINES[who] in typed, page


def test_the_line_for_authors_brings_all_that_runs_a_tool_with_pandas_here(whole: tuple[Environment, str]) -> None:
    environment, server = whole
    assert environment.run(f"snakepit call frames total 'numbers=[1, 2]' --server {server}") == "3\n"


def test_the_line_for_images_leaves_what_is_there_alone_and_brings_no_grpcio(environment: Environment, checkout: Path) -> None:
    before = set(environment.run("pip list --format freeze").split())
    environment.run(LINES["image"], checkout)
    after = set(environment.run("pip list --format freeze").split())
    assert before < after
    assert sorted(each.split("==")[0] for each in after - before) == ["msgspec", "snakepit-sdk", "snakepit-worker"]
    (environment.folder / "try.py").write_text(IN_A_WORKER)
    assert environment.run("python try.py").split() == ["3", OLD, "None"]


def test_the_line_for_callers_brings_the_client_and_a_protobuf_of_today(
    whole: tuple[Environment, str], environment: Environment, checkout: Path
) -> None:
    _, server = whole
    environment.run(LINES["caller"], checkout)
    (environment.folder / "call.py").write_text(CALLING)
    total, protobuf = environment.run(f"SNAKEPIT_SERVER={server} python call.py").split()
    assert (total, protobuf.split(".")[0] >= "7") == ("3", True)
    missing = environment.fails("snakepit pools")
    assert missing == f"snakepit: the module 'typer' is missing. {_extras.CLI}\n"


def test_the_line_for_the_command_line_brings_it_to_whoever_had_the_client_alone(
    whole: tuple[Environment, str], environment: Environment, checkout: Path
) -> None:
    _, server = whole
    environment.run(LINES["command line"], checkout)
    assert environment.run(f"snakepit call frames total 'numbers=[1, 2]' --server {server}") == "3\n"
    assert "in another package, snakepit-local" in environment.fails("snakepit dev pool.yaml --watch")


def test_a_checkout_builds_the_seven_wheels_and_nothing_else(checkout: Path) -> None:
    built = sorted(each.name.split("-")[0] for each in (checkout / "dist").iterdir())
    parts = ("agent", "control_plane", "gateway", "local", "operator", "sdk", "worker")
    assert built == [f"snakepit_{part}" for part in parts]
    assert not [each for each in (ROOT / "sdk").iterdir() if each.name in ("build", "dist")]
