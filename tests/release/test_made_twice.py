"""All of a release is made another time, out of another clone: RELEASE_AGAIN has it. Only `make test-release` runs this."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support.dist import dist
from support.go_tools import ROOT

DIST, AGAIN = dist(), Path(os.environ.get("RELEASE_AGAIN", ""))

sys.path[:0] = [str(ROOT / "hack" / each) for each in ("release", "cluster", "")]

from making import contents  # noqa: E402


def test_one_commit_makes_the_same_bytes_wherever_and_whenever_it_is_made() -> None:
    assert (DIST / contents.SUMS).read_text() == (AGAIN / contents.SUMS).read_text()
    assert contents.sums(DIST) == contents.sums(AGAIN) == (DIST / contents.SUMS).read_text()
    assert (DIST / "cosign.pub").read_text() != (AGAIN / "cosign.pub").read_text(), "each was signed by itself"
