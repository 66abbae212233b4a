"""`import snakepit`: the author's names at once, the caller's when first used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import snakepit
from snakepit import _extras

WITHOUT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""
WITHOUT_GRPC = """
import snakepit
print(snakepit.Adapter.__name__)
try:
    snakepit.Client
except ImportError as error:
    print(error)
"""


def without(program: str, *modules: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the program says where these modules are not installed."""
    argv = [sys.executable, "-c", f"MISSING = {modules!r}{WITHOUT}{program}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, env={**os.environ, **environment}, check=False)


def test_every_public_name_is_there() -> None:
    for name in [*snakepit.__all__, "Client", "Pool", "Session", "sync"]:
        assert getattr(snakepit, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        snakepit.Clint  # noqa: B018


def test_without_grpc_authors_can_work_and_callers_are_told_what_to_install() -> None:
    adapter, sentence = without(WITHOUT_GRPC, "grpc", "google").stdout.splitlines()
    assert adapter == "Adapter"
    assert sentence.endswith(f" is missing, which callers of pools need. {_extras.CLIENT}")


@pytest.mark.parametrize("missing", ["typer", "rich", "yaml", "grpc"])
def test_without_the_command_lines_libraries_it_says_what_to_install(missing: str) -> None:
    done = without("import sys; sys.argv = ['snakepit', 'pools']; from snakepit.cli import main; main()", missing)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"snakepit: the module {missing!r} is missing. {_extras.CLI}\n"


def test_without_yaml_a_pool_file_is_refused_with_what_to_install_and_a_spec_is_read() -> None:
    program = """
from snakepit import spec
print(spec.decode_spec('{"worker": {"adapter": "a:B"}}').replicas)
try:
    spec.load_pools("")
except spec.InvalidPool as error:
    print(error)
"""
    replicas, sentence = without(program, "yaml").stdout.splitlines()
    assert (replicas, sentence) == ("2", f"the module 'yaml' is missing, which reads pool files. {_extras.CLI}")


def test_without_opentelemetry_clients_work_and_whoever_wants_traces_is_told_what_to_install() -> None:
    program = """
import asyncio, logging
logging.basicConfig(format="%(message)s")
import snakepit
async def main():
    async with snakepit.Client("127.0.0.1:1") as client:
        print(client.pool("p"))
asyncio.run(main())
"""
    quiet = without(program, "opentelemetry", OTEL_EXPORTER_OTLP_ENDPOINT="")
    assert (quiet.stdout, quiet.stderr) == ("Pool('default/p')\n", "")
    told = without(program, "opentelemetry", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert told.stdout == "Pool('default/p')\n"
    assert told.stderr == f"nothing is traced: the module 'opentelemetry' is missing, which sends spans. {_extras.OTEL}\n"


def test_an_authors_import_brings_nothing_that_only_a_running_call_needs() -> None:
    seldom = ("asyncio", "concurrent.futures", "dataclasses", "logging", "random", "threading")
    program = f"from snakepit import Adapter, AsyncContext, Context, tool; import sys; print([n for n in {seldom} if n in sys.modules])"
    assert without(program).stdout == "[]\n"
