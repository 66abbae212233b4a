"""Every seed, which is what was found and what is usual; and half a minute of new inputs, a second for each target."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import SEEDS
from fuzz.every import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_bytes_came_once_its_parser_says_yes_or_no_to_them(name: str) -> None:
    seeds = sorted((SEEDS / name).iterdir())
    assert seeds
    for seed in seeds:
        try:
            TARGETS[name](seed.read_bytes())
        except Exception as error:
            error.add_note(f"by {seed}")
            raise


@pytest.mark.timeout(600)
def test_new_bytes_find_nothing_in_half_a_minute(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this machine: CI's has one")
    environment = {**os.environ, "FUZZ_SECONDS": str(len(TARGETS)), "FUZZ_CORPUS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "tests.fuzz"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
