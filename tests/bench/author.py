"""What an author meets: how long an import takes, what a `print` costs, and how soon saved code is served."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import snakepit
import snakepit_worker
from snakepit import Client, Pool
from snakepit_worker.testing import LocalAgent, LocalWorker
from tests.bench.plane import BUILD
from tests.bench.rounds import ROUNDS
from tests.bench.rows import Row, Target
from tests.support.dev_server import dev, pool_file

IMPORTS = {"import snakepit": "import snakepit", "an author's imports": "from snakepit import Adapter, AsyncContext, Context, tool"}
MEASURE = """
import time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
memory, began = resident(), time.process_time()
{}
print(1000 * (time.process_time() - began), resident() - memory)
"""
ADAPTER = """
from snakepit import Adapter, tool

class Small(Adapter):
    @tool
    def version(self) -> int:
        return {}

    @tool
    def prints(self, lines: int) -> float:
        import time
        began = time.thread_time()
        for number in range(lines):
            print("a line of the usual length, with a number", number)
        return (time.thread_time() - began) / lines
"""
LINES = 2000


async def rows() -> list[Row]:
    return [*_imports(), _print(), await _reload()]


def _imports() -> list[Row]:
    rows = []
    for what, statement in IMPORTS.items():
        seconds, memory = zip(*(_import(statement) for _ in range(3 * ROUNDS)), strict=True)
        note = "processor time, least of all runs; with bytecode"
        rows.append(Row(what=f"{what}: time", figure=min(seconds), unit="ms", value=min(seconds), target=Target("<", 30, "ms"), note=note))
        rows.append(Row(what=f"{what}: memory", figure=min(memory), unit="MiB", value=min(memory), target=Target("<", 8, "MiB")))
    return rows


@functools.cache
def _bytecode() -> str:
    """A folder with the bytecode of our packages, which every image has."""
    prefix = str(BUILD / "bytecode")
    folders = [str(Path(module.__file__ or "").parent) for module in (snakepit, snakepit_worker)]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], check=True, env={"PYTHONPYCACHEPREFIX": prefix})
    return prefix


def _import(statement: str) -> tuple[float, float]:
    environment = {"PYTHONPYCACHEPREFIX": _bytecode()}
    done = subprocess.run([sys.executable, "-c", MEASURE.format(statement)], check=True, capture_output=True, text=True, env=environment)
    time, memory = map(float, done.stdout.split())
    return time, memory


def _print() -> Row:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        Path(folder, "small_adapter.py").write_text(ADAPTER.format(0))
        with LocalAgent({"PYTHONPATH": f"{folder}:{':'.join(filter(None, sys.path))}"}, stderr=log) as agent:
            worker: LocalWorker = agent.start("small_adapter:Small")
            cost = median(worker.call("prints", {"lines": LINES}) for _ in range(ROUNDS)) * 1e6
    return Row(what="one print in a tool", figure=cost, unit="µs", value=cost, target=Target("≤", 20, "µs"), note="of the tool's processor")


async def _reload() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "small_adapter.py")
        _save(source, 0)
        pool_of_it = pool_file(Path(folder), "small", "small_adapter:Small", replicas="1")
        with dev(pool_of_it, "--watch", PYTHONPYCACHEPREFIX=_bytecode()) as program:
            program.is_ready()
            async with Client(program.server) as client:
                pool = client.pool("small")
                took = median([await _served(pool, source, version) for version in range(1, ROUNDS + 1)])
    return Row(what="code saved to code served, with --watch", figure=took, unit="s", value=took, target=Target("<", 1, "s"))


async def _served(pool: Pool, source: Path, version: int) -> float:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(1)  # the reload before is over, also for the process that it replaced
    _save(source, version)
    began = clock()
    while await pool.call("version", timeout=20) != version:
        await asyncio.sleep(0.005)
    return clock() - began


def _save(source: Path, version: int) -> None:
    source.write_text(ADAPTER.format(version))
