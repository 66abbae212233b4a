"""The program `snakepit-agent` itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from snakepit.spec import encode_spec
from support.capsules import spec
from support.log_lines import lines
from support.replica import replica


async def start(**environment: str) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEPIT_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "snakepit_agent", env={**kept, **environment}, stderr=asyncio.subprocess.PIPE
    )


def environment(folder: Path, port: int) -> dict[str, str]:
    return {
        "SNAKEPIT_POOL": "default/sample",
        "SNAKEPIT_CAPSULE": "sample-0",
        "SNAKEPIT_SERVER": f"127.0.0.1:{port}",
        "SNAKEPIT_SPEC": encode_spec(spec("support.stubborn:Stubborn")),
        "SNAKEPIT_RUN_DIR": str(folder),
        "SNAKEPIT_HEALTH_PORT": "0",
    }


async def test_without_settings_it_says_all_that_is_missing_and_exits_with_1() -> None:
    program = await start()
    _, said = await asyncio.wait_for(program.communicate(), 20)
    assert program.returncode == 1
    assert [each["message"].split(":")[0] for each in lines(said.splitlines())] == [
        "SNAKEPIT_POOL",
        "SNAKEPIT_CAPSULE",
        "SNAKEPIT_SERVER",
        "SNAKEPIT_SPEC",
    ]


async def test_a_run_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    program = await start(**environment(tmp_path / "nowhere", 1))
    _, said = await asyncio.wait_for(program.communicate(), 20)
    assert program.returncode == 1
    assert "nowhere" in said.decode().splitlines()[-1]
    assert "Traceback" not in said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_with_0_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    async with replica() as control:
        program = await start(**environment(tmp_path, control.port))
        await control.until(lambda: control.heard("report"), "its first report")
        program.send_signal(number)
        assert await asyncio.wait_for(program.wait(), 20) == 0
        assert control.heard("report")[-1].draining
        assert not (tmp_path / "control.sock").exists()
