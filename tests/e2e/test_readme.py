"""README's way to a cluster, word by word: install, apply, wait, call, see, remove. Only how images get to the nodes is another way here.

It comes first: it finds a cluster without a release, and leaves one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import HERMETIC, ROOT, eventually, run
from support.pages import Block, Shell, blocks

THERE = "The same pool on a cluster"
ON_THE_NODES = f"""
buildah build --quiet --pull=never --format=docker -t docker.io/library/greetings:1 ~/hello
{sys.executable} hack/cluster load greetings:1
"""
"""Instead of the block that has docker and kind: `hack/cluster load` has brought our images, and brings the newcomer's."""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HERMETIC, reason="the newcomer's image is built and loaded for the cluster of hack/cluster only"),
]


@pytest.fixture(scope="module")
def shell(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("readme")
    instead = {"~/": f"{folder}/", "FROM snakepit/": "FROM docker.io/snakepit/"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    buildah = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    shell = Shell(folder / "hello", folder / "state", instead, PATH=path, COLUMNS="200", **buildah)
    for block in blocks("README.md"):
        if block.file:
            shell.put(block)
    shell.folder = ROOT
    yield shell
    shell.run(
        "kill $FORWARD || true; kubectl delete sp/greetings --ignore-not-found; helm uninstall snakepit -n snakepit-system", check=False
    )


def commands() -> list[Block]:
    """The blocks that are typed, one after another."""
    return [each for each in blocks("README.md", "sh", THERE) if not each.file]


def test_the_readmes_way_to_a_cluster_is_gone_word_by_word(shell: Shell) -> None:
    images, install, call, reach, see = commands()
    assert "kind load docker-image" in images.text
    shell.run(ON_THE_NODES)

    shell.run(install.text)
    assert shell.run(call.text).stdout == "Hello, Ada!\n"

    printed = shell.run(reach.text.replace(" &\n", " & export FORWARD=$!\n")).stdout.splitlines()
    assert [line for line in printed if not line.startswith(("Forwarding from", "Handling connection"))] == [
        *("Hello, Ada!", "Hello, Ada!", "A", "d", "a"),
        "Guten Tag, Ada!",
    ]

    seen = shell.run(see.text).stdout
    for words in ("greetings", "Running", "Available", "greetings-0", 'release "snakepit" uninstalled'):
        assert words in seen
    eventually(
        lambda: not run("kubectl", "get", "pods", "-A", "-l", "app.kubernetes.io/part-of=snakepit", "-o", "name").stdout, "all is gone"
    )
