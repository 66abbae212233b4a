"""How large an image is over its base."""

from localcluster.images import IMAGES, megabytes_over


def test_only_what_an_image_has_beside_its_base_counts() -> None:
    assert megabytes_over({"base": 100_000_000, "own": 40_000_000, "code": 5_000_000}, {"base": 100_000_000}) == 45


def test_the_agents_image_which_is_on_every_node_has_a_most() -> None:
    assert {each.name: each.most_megabytes for each in IMAGES}["agent"] == 90
