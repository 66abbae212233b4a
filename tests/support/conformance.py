"""MCP's own conformance suite, run against a pool. What is expected to fail stands in tests/clients/mcp/baseline.yaml."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.clients import CLIENTS, conformance

BASELINE = CLIENTS / "mcp/baseline.yaml"
TRIES = 3
VERSIONS = ("2026-07-28", "2025-11-25", "2025-06-18")


async def passes(url: str, baseline: Path = BASELINE) -> None:
    """At each version. The suite gives some answers half a second: on a machine that is busy it gets another chance."""
    for version in VERSIONS:
        words = ("server", "--url", url, "--suite", "all", "--spec-version", version, "--expected-failures", str(baseline))
        await _passes([*conformance(), *words])


async def _passes(command: list[str]) -> None:
    for _ in range(TRIES):
        code, said = await _run(command)
        if code == 0:
            break
        print(said[said.find("=== SUMMARY") :])
    assert code == 0
    assert "Baseline check passed" in said


async def _run(command: list[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
