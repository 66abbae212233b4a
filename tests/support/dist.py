"""What `make release` has put into the folder that RELEASE names, and the tools that docs/releasing.md names.

Without RELEASE a test is skipped.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .go_tools import ROOT, go_tool

OF_THE_PAGE = ("cosign", "oras", "helm")


def dist() -> Path:
    """Skips the test where there is none."""
    if not (named := os.environ.get("RELEASE")):
        pytest.skip("RELEASE names no release: `make test-release`, and `.ci/run`, make what is tested here", allow_module_level=True)
    return ROOT / named


@cache
def released() -> dict[str, Any]:
    """What release.json says."""
    return dict(json.loads((dist() / "release.json").read_text()))


def path_of_tools() -> str:
    """A PATH with the programs that the page names, and with those of the wheels, which are installed where RELEASE_PROGRAMS says."""
    folders = {str(go_tool(name).parent) for name in OF_THE_PAGE}
    return os.pathsep.join([f"{os.environ['RELEASE_PROGRAMS']}/bin", *folders, os.environ["PATH"]])
