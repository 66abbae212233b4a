"""Each example whose README has a command and what it prints: the pool is started as it says, and the command prints just that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from support.dev_server import ready_dev
from support.pages import ROOT, Block, blocks
from support.walk import as_shown

READMES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "examples").glob("*/README.md") if blocks(path))
"""The notebook's page has none: it is the tutorial's, which is walked."""

pytestmark = pytest.mark.timeout(180)


def pools(readme: str) -> list[str]:
    """What `snakepit dev` is given."""
    (command,) = [each.text for each in blocks(readme, "sh") if each.text.startswith("snakepit dev ")]
    return command.split()[2:]


def program(readme: str) -> tuple[Block, Block]:
    """The command, and what it prints."""
    (command, printed), *_ = [(one, other) for one, other in pairwise(blocks(readme)) if "python examples/" in one.text]
    assert printed.language == ""
    return command, printed


@pytest.mark.parametrize("readme", READMES)
def test_an_example_prints_what_its_page_says(readme: str) -> None:
    command, printed = program(readme)
    (script,) = re.findall(r"examples/\S+\.py", command.text)
    over_http = '"URL"' in (ROOT / script).read_text()
    gateway = ["--gateway", "127.0.0.1:0"] if over_http else []
    with ready_dev(*(ROOT / each for each in pools(readme)), *gateway) as server:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {"PATH": path, "SNAKEPIT_SERVER": server.server, **({"URL": server.gateway} if gateway else {})}
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stderr, done.returncode) == ("", 0)
    assert as_shown(printed.text, done.stdout), done.stdout


def test_there_are_examples() -> None:
    listed = (ROOT / "examples/README.md").read_text()
    folders = sorted(path.name for path in (ROOT / "examples").iterdir() if (path / "pool.yaml").exists() or list(path.glob("test_*.py")))
    assert len(READMES) >= 5
    assert [name for name in folders if f"]({name}/" not in listed] == []
