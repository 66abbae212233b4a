"""A release has the same bytes wherever and whenever it is made: wheels, the chart and one image are made once more here.

It is in CI, as it takes seconds. `make test-release` makes all of it once more: test_made_twice.py.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dist import dist, released
from support.go_tools import ROOT

DIST = dist()

sys.path[:0] = [str(ROOT / "hack" / each) for each in ("release", "cluster", "")]

from localcluster import abandoned  # noqa: E402
from localcluster.images import RELEASED  # noqa: E402
from making import chart, contents, release  # noqa: E402
from making.images import Store  # noqa: E402
from making.source import Source, export  # noqa: E402

pytestmark = pytest.mark.timeout(600)

SUMS = (DIST / contents.SUMS).read_text().splitlines()
IMAGE = RELEASED[0]
"""It is built in an empty store: buildah writes down in the others what it has found of the builds before."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Path]:
    """pytest would keep its own folders, and a store of images is large."""
    with abandoned.temporary("snakepit-again-") as folder:
        yield folder


@pytest.fixture(scope="module")
def source(elsewhere: Path) -> Source:
    return export(ROOT, elsewhere / "source")


def sum_of(file: Path) -> str:
    return f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}"


def test_the_release_is_of_what_is_checked_out(source: Source) -> None:
    assert (released()["commit"], released()["seconds"], released()["version"]) == (source.commit, source.seconds, source.version)


def test_wheels_and_chart_are_made_once_more_and_have_the_same_bytes(source: Source, elsewhere: Path) -> None:
    release.wheels(ROOT, source, elsewhere / "made")
    chart.package(source, elsewhere / "made", elsewhere)
    made = sorted((elsewhere / "made").iterdir())
    assert len(made) == 8
    assert [sum_of(each) for each in made] == [line for line in SUMS if line.endswith((".whl", ".tgz"))]


def test_an_image_is_built_once_more_and_has_the_same_digest(source: Source, elsewhere: Path) -> None:
    store = Store(elsewhere / "store")
    base = store.base(os.environ.get("PYTHON_IMAGE", ""))
    built = store.build(source, IMAGE, base, elsewhere / "build.log")
    assert store.push(built, f"oci:{elsewhere / 'oci'}:{IMAGE}") == released()["images"][IMAGE]
