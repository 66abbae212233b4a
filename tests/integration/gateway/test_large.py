"""64 MiB up and down: each byte arrives, and the gateway's memory is the same afterwards."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.dev_server import Dev, Program
from support.ports import free_port

SIZE = 64 << 20
MIB = 1 << 20
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def program(stage: Dev) -> Iterator[tuple[str, int]]:
    """A gateway of its own process: its URL and pid."""
    address = f"127.0.0.1:{free_port()}"
    running = Program(sys.executable, "-m", "snakepit_gateway", SNAKEPIT_GATEWAY_LISTEN=address, SNAKEPIT_SERVER=stage.server)
    try:
        running.says("linked to the control plane")
        yield f"http://{address}/v1/pools/default/front/tools/", running.process.pid
    finally:
        running.end()


def memory(pid: int, what: str = "VmRSS") -> int:
    """In MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) // 1024


async def test_memory_is_flat_after_many_of_them(program: tuple[str, int]) -> None:
    url, pid = program
    data = bytes(range(256)) * (SIZE // 256)
    seen = []
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        for _ in range(5):
            up = await http.post("sizes", files={"data": ("a.bin", data)})
            assert up.json() == [SIZE, "", None]
            down = await http.post("blob", json={"size": SIZE})
            assert len(down.content) == SIZE
            seen.append(memory(pid))
    print("MiB after each:", seen, "at the most:", memory(pid, "VmHWM"))
    assert seen[-1] - seen[1] < 48, seen


async def test_many_at_once_wait_for_room(program: tuple[str, int]) -> None:
    url, pid = program
    data = bytes(SIZE)
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        answers = await asyncio.gather(*(http.post("sizes", files={"data": ("a.bin", data)}) for _ in range(10)))
    assert [each.json() for each in answers] == [[SIZE, "", None]] * 10
    print("MiB at the most:", memory(pid, "VmHWM"))
    assert memory(pid, "VmHWM") < 256 + 3 * 64 + 128
