"""How large an image is over its base; and that those of examples are made as their pages say."""

from pathlib import Path

import pytest
from localcluster.images import IMAGES, Image, megabytes_over

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = [each for each in IMAGES if each.context]
OTHERWISE = {"digits", "notebook"}
"""By tests of their own: with what the checkout pins, and word by word as the tutorial says."""


def test_only_what_an_image_has_beside_its_base_counts() -> None:
    assert megabytes_over({"base": 100_000_000, "own": 40_000_000, "code": 5_000_000}, {"base": 100_000_000}) == 45


def test_the_agents_image_which_is_on_every_node_has_a_most() -> None:
    assert {each.name: each.most_megabytes for each in IMAGES}["agent"] == 90


@pytest.mark.parametrize("image", EXAMPLES, ids=lambda image: image.name)
def test_an_example_is_made_in_the_folder_and_from_the_image_that_its_page_says(image: Image) -> None:
    folder = ROOT / image.context
    assert (
        f"\ndocker build -t {image.name}:1 {image.context}\nkind load docker-image {image.name}:1\n" in (folder / "README.md").read_text()
    )
    assert f"image: {image.name}:1\n" in (folder / "pool.yaml").read_text()
    assert f"FROM snakepit/{image.parent}:dev\n" in (ROOT / image.dockerfile).read_text()


def test_each_example_with_an_image_is_built_for_the_tests_on_a_cluster() -> None:
    there = {path.parent.name for path in ROOT.glob("examples/*/Dockerfile")}
    assert there - OTHERWISE == {Path(each.context).name for each in EXAMPLES}
