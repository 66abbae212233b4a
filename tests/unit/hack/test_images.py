"""How large an image is over its base; and that those of examples are made as their pages say."""

import json
from pathlib import Path
from typing import Any

import pytest
from localcluster import image_rules
from localcluster.image_rules import megabytes_over
from localcluster.images import IMAGES, Image
from localcluster.shell import Failure

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


def said(user: str, **layers: int) -> dict[str, Any]:
    """As buildah tells it."""
    manifest = {"layers": [{"digest": f"{digest}, packed", "size": size} for digest, size in layers.items()]}
    return {"OCIv1": {"config": {"User": user}, "rootfs": {"diff_ids": [*layers]}}, "Manifest": json.dumps(manifest)}


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "nobody"])
def test_an_image_whose_user_is_root_or_no_number_is_refused(user: str) -> None:
    with pytest.raises(Failure, match="must end with a USER that is a number"):
        image_rules.check("agent", None, said(user), said(""))


def test_an_image_that_is_larger_than_it_may_be_is_refused() -> None:
    base = said("", base=100_000_000)
    assert image_rules.check("agent", 90, said("65532:65532", base=100_000_000, own=90_000_000), base) == 90
    with pytest.raises(Failure, match="91 MB over its base: 90 are the most"):
        image_rules.check("agent", 90, said("65532:65532", base=100_000_000, own=91_000_000), base)
