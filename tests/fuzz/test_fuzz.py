"""Every seed, which is what was found and what is usual; and half a minute of new inputs for each kind of target."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import SEEDS, chosen, plan
from fuzz.every import KINDS, TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = 30
"""For each kind."""


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


def test_every_target_is_of_one_kind() -> None:
    assert sorted(name for names in KINDS.values() for name in names) == sorted(TARGETS)


@pytest.mark.parametrize("seconds", [SECONDS, 100, 3600])
def test_each_kind_gets_the_same_time_and_shares_it_among_its_targets(seconds: int, tmp_path: Path) -> None:
    campaigns = plan(KINDS, seconds * len(KINDS), tmp_path)
    assert [each.seconds for each in campaigns] == sorted((each.seconds for each in campaigns), reverse=True)
    for kind, names in KINDS.items():
        shares = [each.seconds for each in campaigns if each.kind == kind]
        assert (sum(shares), len(shares)) == (seconds, len(names))
        assert max(shares) - min(shares) <= 1


def test_kinds_and_targets_can_be_chosen_and_a_name_that_nothing_has_is_told() -> None:
    assert chosen(KINDS, ["wire", "hello"]) == {"wire": KINDS["wire"], "links": ["hello"]}
    with pytest.raises(SystemExit, match=r"^FUZZ_ONLY: 'pool' is neither a kind nor a target: use bulk, .*, worker_packets$"):
        chosen(KINDS, ["wire", "pool"])


@pytest.mark.timeout(900)
def test_new_bytes_find_nothing_in_half_a_minute_of_each_kind(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this machine: CI's has one")
    environment = {**os.environ, "FUZZ_SECONDS": str(SECONDS * len(KINDS)), "FUZZ_CORPUS": str(tmp_path), "FUZZ_PROCESSES": "2"}
    done = subprocess.run([sys.executable, "-m", "tests.fuzz"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [f"{kind}: {SECONDS} s, shared by {len(names)} targets" for kind, names in KINDS.items()] == done.stdout.splitlines()[
        -len(KINDS) :
    ]
