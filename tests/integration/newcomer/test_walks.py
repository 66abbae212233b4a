"""docs/start and docs/tutorial, page after page: each file is written, each command typed, and each output is the one that the page shows.

How the environment is made they say in the README's words, which test_newcomer.py goes by; here it is the checkout's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pages import BLOCK_SECONDS, ROOT, Shell, blocks, here
from support.ports import free_port
from support.walk import Walker, as_shown

START = ["docs/start/first-tool.md", "docs/start/first-call.md"]
TUTORIAL = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/tutorial").glob("[0-9]*.md"))
ON_A_CLUSTER = ("An image", "A rollout")
"""What stands there is typed by tests/e2e/test_examples.py."""
README_CLUSTER = "The same pool on a cluster"

pytestmark = pytest.mark.timeout(BLOCK_SECONDS + 60)


def walker(folder: Path) -> Iterator[Walker]:
    server, gateway = (f"127.0.0.1:{free_port()}" for _ in range(2))
    instead = {"~/": f"{folder}/", **here(server, gateway)}
    go = shutil.which("go") or "/usr/local/go/bin/go"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], str(Path(go).parent)])
    shell = Shell(ROOT, folder / "state", instead, PATH=path, SNAKEPIT_SERVER=server, COLUMNS="120", PYTHONDONTWRITEBYTECODE="1")
    walker = Walker(shell, f"--listen {server} --gateway {gateway}")
    try:
        yield walker
    finally:
        walker.ends()


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    yield from walker(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    """Comes from the start, where a pool runs in another terminal."""
    for walks in walker(tmp_path_factory.mktemp("tutorial")):
        walks.there = True
        yield walks


@pytest.mark.parametrize("page", START)
def test_a_page_of_the_start_does_what_it_says(starter: Walker, page: str) -> None:
    missing = [program for program in ("go", "node") if not shutil.which(program) and not Path(f"/usr/local/go/bin/{program}").exists()]
    if page == START[-1] and missing:
        pytest.skip(f"the first call is not tried from {' and '.join(missing)}: not here")
    assert starter.goes_through(page)


@pytest.mark.parametrize("page", TUTORIAL)
def test_a_page_of_the_tutorial_does_what_it_says(learner: Walker, page: str) -> None:
    assert learner.goes_through(page, but=ON_A_CLUSTER)


@pytest.mark.parametrize(("page", "heading"), [("docs/start/install.md", ""), ("docs/start/first-deployment.md", README_CLUSTER)])
def test_what_these_pages_have_typed_is_the_readmes_which_is_tried(page: str, heading: str) -> None:
    lines = {line.strip() for block in blocks("README.md", heading=heading) for line in block.text.splitlines()}
    typed = [line.strip() for block in blocks(page) if block.language for line in block.text.splitlines()]
    assert len(typed) > 2
    assert [line for line in typed if line not in lines] == []


def test_an_output_that_is_another_one_is_noticed() -> None:
    assert as_shown("a … c\nd", "a b c\nd\n")
    assert not as_shown("a … c", "a b d")
