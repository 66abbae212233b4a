"""Lets these tests import the program of hack/cluster, which is no distribution of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "hack/cluster"))
