"""What images and wheels bring along has licences that nobody needs to think about."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import licences
import pytest
from localcluster.images import RELEASED

ROOT = Path(__file__).resolve().parents[3]
OURS = (*RELEASED, "digits")


@pytest.mark.parametrize("image", OURS)
def test_every_package_of_an_image_is_pinned_by_hashes_and_has_a_licence_that_is_allowed(image: str) -> None:
    pinned = list(licences.pinned(image))
    assert len(pinned) >= 1
    assert [each.name for each in pinned if not each.hashes] == []
    # Of another platform or an older Python; hack/sbom.py looks at what an image really has.
    elsewhere = {"async-timeout", "colorama", "httpx2-jsfetch", "pywin32"}
    for each in pinned:
        try:
            metadata = distribution(each.name).metadata
        except PackageNotFoundError:
            assert each.name in elsewhere
            continue
        found = licences.licence(metadata)  # type: ignore[arg-type]
        assert found, f"{each.name} says no licence that hack/licences.py knows"
        assert licences.unwanted(found) == set(), each.name


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"License-Expression": "mit"}, "MIT"),
        ({"License": "3-Clause BSD License"}, "BSD-3-Clause"),
        ({"License": "Copyright (c) everybody.\nRedistribution", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause"),
        ({"License": "Proprietary"}, ""),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, ""),
        ({}, ""),
    ],
)
def test_what_a_package_says_of_its_licence_is_read_and_what_is_not_known_is_nothing(said: dict[str, str], means: str) -> None:
    metadata = Message()
    for name, value in said.items():
        metadata[name] = value
    assert licences.licence(metadata) == means


def test_a_licence_that_is_not_allowed_is_named() -> None:
    assert licences.unwanted("MIT AND (GPL-3.0-only OR BSD-3-Clause)") == {"GPL-3.0-only"}


@pytest.mark.parametrize("folder", ["sdk", "worker-image", "agent", "control-plane", "operator", "gateway", "local", "charts/snakepit"])
def test_each_distribution_and_the_chart_bring_our_own_licence(folder: str) -> None:
    """hatchling and helm take it from beside what they build, and nothing from above."""
    assert (ROOT / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_what_browsers_get_has_a_licence_that_is_allowed_and_its_text_beside_it() -> None:
    static = licences.STATIC
    assert {each.name.partition("-")[0] for each in static.glob("*.min.*")} == set(licences.VENDORED)
    for name, licence in licences.VENDORED.items():
        assert licences.unwanted(licence) == set()
        assert (static / f"{name}.LICENSE").read_text()
