"""Owns what an image of ours must be, told from what buildah knows about it: what a cluster relies on. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from localcluster.shell import Failure


def check(name: str, most_megabytes: int | None, said: Mapping[str, Any], base: Mapping[str, Any]) -> float:
    """Megabytes over its base. Raises Failure: the kubelet must tell by a number that it isn't root; and it is no larger than it may be."""
    user = said["OCIv1"]["config"].get("User", "")
    if not user.partition(":")[0].strip("0").isdecimal():
        raise Failure(f"The image {name} runs as {user or 'root'}: its Dockerfile must end with a USER that is a number, and not 0.")
    size = megabytes_over(layers(said), layers(base))
    if most_megabytes is not None and size > most_megabytes:
        raise Failure(f"The image {name} has {size:.0f} MB over its base: {most_megabytes} are the most.")
    return size


def layers(said: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each layer of an image, by the digest that it has unpacked: it is the same however an image has come here."""
    sizes = [each["size"] for each in json.loads(said["Manifest"])["layers"]]
    return dict(zip(said["OCIv1"]["rootfs"]["diff_ids"], sizes, strict=True))


def megabytes_over(image: Mapping[str, int], base: Mapping[str, int]) -> float:
    """What an image's layers have beside those of its base."""
    return sum(size for digest, size in image.items() if digest not in base) / 1e6
