"""Programs written in Go, found or built by hack/go_tools.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "hack"))
from go_tools import go  # noqa: E402

BUILD_SECONDS = 960


def go_tool(name: str) -> Path:
    """Its path; skips the test, with the reason, where it is neither there nor can be built."""
    command = [sys.executable, ROOT / "hack/go_tools.py", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def go_module(name: str) -> Path:
    """The folder of `module@version`, whose other files are wanted too; skips the test where there is no Go to have it with."""
    compiler = go()
    if compiler is None:
        pytest.skip(f"there is no Go to have {name} with")
    told = subprocess.run([compiler, "mod", "download", "-json", name], capture_output=True, text=True, timeout=120, check=True)
    return Path(json.loads(told.stdout)["Dir"])
