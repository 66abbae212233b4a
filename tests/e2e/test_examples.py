"""The pages of the examples, and the tutorial's last one, word by word: pools are applied as they say, and print what they say.

All pools of the examples start together. Their images are those of hack/cluster, which are made as the pages say
(tests/unit/hack/test_images.py); the tutorial's are made here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.dev_server import Program
from support.kube import HERMETIC, IMAGE_REPOSITORY, IMAGE_TAG, ROOT, eventually
from support.pages import Shell, blocks
from support.walk import Walker

NAMES = ("agent-over-mcp", "embeddings", "fan-out", "frames", "from-configmap", "interpreter", "shop")
THERE = "On a cluster"
THE_SAME = "prints the same"
"""Where a page says so, its program is run once more."""
OF_THE_IMAGE = ("docker build ", "kind load ")
WAIT = "kubectl wait "

TUTORIAL = "docs/tutorial/6-image-and-rollout.md"
DOCKER = """#!/bin/sh
# docker build -t NAME FOLDER
exec buildah build --quiet --pull=never --format=docker --from=docker.io/snakepit/worker:dev -t "$3" "$4"
"""
KIND = f"""#!/bin/sh
# kind load docker-image NAME
exec '{sys.executable}' '{ROOT}/hack/cluster' load "$3"
"""

pytestmark = pytest.mark.timeout(660)  # The pages wait for five minutes at most, twice.


def readme(name: str) -> str:
    return f"examples/{name}/README.md"


def commands(name: str) -> tuple[str, str]:
    """What is typed for the pool, but for its image: until it is applied, and from the wait for it on."""
    lines = [line for line in blocks(readme(name), "sh", THERE)[0].text.splitlines() if not line.startswith(OF_THE_IMAGE)]
    waits = next(at for at, line in enumerate(lines) if line.startswith(WAIT))
    return "\n".join(lines[:waits]), "\n".join(lines[waits:])


def program(name: str) -> tuple[str, str]:
    """The command, as it is for a cluster where the page has one for that; and what it prints."""
    every = blocks(readme(name))
    run = [at for at, each in enumerate(every) if "python examples/" in each.text]
    return every[run[-1]].text, every[run[0] + 1].text


def shell_in(folder: Path, *programs: Path) -> Shell:
    path = os.pathsep.join(map(str, (*programs, Path(sys.executable).parent, os.environ["PATH"])))
    buildah = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    return Shell(folder, folder / "state", {"~/": f"{folder}/"}, PATH=path, COLUMNS="200", **buildah)


def with_images_of_the_checkout(pool_file: Path, name: str) -> None:
    text = pool_file.read_text()
    image = {"agent-over-mcp": "warehouse", "from-configmap": "worker"}.get(name, name)
    for written in (f"{image}:1", f"snakepit/{image}:dev"):
        text = text.replace(f"image: {written}", f"image: {IMAGE_REPOSITORY}/{image}:{IMAGE_TAG}")
    pool_file.write_text(text)


@dataclass
class Laptop:
    """A terminal in a checkout whose examples are all applied; and what programs need to know, as `snakepit --kube connect` says it."""

    shell: Shell
    exports: str

    def runs(self, program: str) -> subprocess.CompletedProcess[str]:
        """In another terminal."""
        return self.shell.run(f"( {self.exports}\n{program})")


@contextmanager
def connected(folder: Path) -> Iterator[str]:
    """`snakepit --kube connect` goes on; what it says that is to be typed."""
    forward = Program(str(Path(sys.executable).parent / "snakepit"), "--kube", "connect", cwd=folder)
    try:
        forward.says("export SNAKEPIT_SERVER")
        yield next(line for line in forward.lines if line.startswith("export "))
    finally:
        forward.send(signal.SIGTERM)  # Where tests run in the background, Ctrl-C's signal is ignored.
        try:
            forward.wait()
        finally:
            forward.end()


@pytest.fixture(scope="module")
def laptop(release: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shell = shell_in(folder)
    try:
        for name in NAMES:
            with_images_of_the_checkout(folder / "examples" / name / "pool.yaml", name)
            shell.run(commands(name)[0])
        with connected(folder) as exports:
            yield Laptop(shell, exports)
    finally:
        for name in NAMES:
            shell.run(f"kubectl delete --ignore-not-found --wait=false -f examples/{name}/pool.yaml", check=False)
        shell.run("kubectl delete --ignore-not-found --wait=false namespace models", check=False)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_on_a_cluster_what_its_page_says(laptop: Laptop, name: str) -> None:
    printed = laptop.shell.run(commands(name)[1]).stdout
    shown = [each for each in blocks(readme(name), heading=THERE) if not each.language]
    same = THE_SAME in (ROOT / readme(name)).read_text()
    assert shown or same, "the page shows nothing that this could print"
    assert [each.text for each in shown if not printed.endswith(each.text)] == []
    if same:
        command, prints = program(name)
        done = laptop.runs(command)
        assert (done.stdout, done.stderr) == (prints, "")


def test_new_code_in_a_config_map_comes_to_the_pool(laptop: Laptop) -> None:
    shell = laptop.shell
    code = shell.folder / "examples/from-configmap/greeter.py"
    code.write_text(code.read_text().replace('"Hello"', '"Good day"'))
    before, after = commands("from-configmap")
    shell.run(before.splitlines()[-1])
    call = after.splitlines()[-1]
    eventually(lambda: shell.run(call).stdout == "Good day Ada\n", "capsules with the new code serve")


@pytest.fixture
def learner(release: None, tmp_path: Path) -> Iterator[Walker]:
    """Somebody who has gone through the tutorial until there, with a docker and a kind of ours."""
    shutil.copytree(ROOT / "examples/notebook", tmp_path / "notebook")
    for name, text in (("docker", DOCKER), ("kind", KIND)):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    shell = shell_in(tmp_path, tmp_path / "bin")
    shell.folder = tmp_path / "notebook"
    yield Walker(shell, "")
    shell.run("kubectl delete sp/notebook --ignore-not-found --wait=false", check=False)


@pytest.mark.skipif(not HERMETIC, reason="the learner's images are built and loaded for the cluster of hack/cluster only")
def test_the_tutorials_tool_is_deployed_and_replaced_by_its_next_version_and_a_session_keeps_its_table(learner: Walker) -> None:
    assert learner.goes_through(TUTORIAL, only=("An image", "A rollout")) >= 4
