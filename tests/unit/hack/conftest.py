"""Lets these tests import the programs of hack/ and of hack/cluster, which are no distributions of their own."""

import sys
from pathlib import Path

HACK = Path(__file__).resolve().parents[3] / "hack"
sys.path[:0] = [str(HACK / "cluster"), str(HACK)]
