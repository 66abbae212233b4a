"""Lets these tests import the programs of hack/ and of hack/cluster, which are no distributions of their own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HACK = Path(__file__).resolve().parents[3] / "hack"
sys.path[:0] = [str(HACK / "cluster"), str(HACK)]

NOBODY = 65534


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Who runs the test may not look into its folder: root becomes somebody who has no rights, for as long as the test takes."""
    is_root = os.getuid() == 0
    tmp_path.chmod(0)
    if is_root:
        os.setresuid(NOBODY, NOBODY, 0)
    yield
    if is_root:
        os.setresuid(0, 0, 0)
    tmp_path.chmod(0o700)
