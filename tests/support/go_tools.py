"""Programs written in Go, found or built by hack/go_tools.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 960


def go_tool(name: str) -> Path:
    """Its path; skips the test, with the reason, where it is neither there nor can be built."""
    command = [sys.executable, ROOT / "hack/go_tools.py", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())
