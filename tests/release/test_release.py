"""What `make release` made is checked, carried to a registry and installed from as docs/releasing.md says, and then it is gone again.

It runs inside the cluster: there is no way out, so that nobody's service can be needed. hack/release-tests has installed the wheels.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dist import dist, path_of_tools, released
from support.go_tools import ROOT
from support.kube import SYSTEM, apply, eventually, get, kubectl, make_namespace, run, wait_available
from support.pages import Shell, blocks

DIST, RELEASE = dist(), released()

sys.path[:0] = [str(ROOT / "hack" / each) for each in ("release", "cluster", "")]

from localcluster import network  # noqa: E402
from making import contents, registry  # noqa: E402

pytestmark = pytest.mark.timeout(600)

PAGE = "docs/releasing.md"
SPACE = "snakepit-release"
INSTALL_SECONDS = 480
HERE = {
    "registry.example": network.REGISTRY,
    "0.1.0": RELEASE["version"],
    "release.pub": "dist/cosign.pub",
    "oras cp ": "oras cp --no-tty --to-plain-http ",
    "cosign verify ": "cosign verify --allow-http-registry ",
    "cosign verify-attestation ": "cosign verify-attestation --allow-http-registry ",
    "helm install snakepit ": "helm install snakepit --plain-http ",
}
"""Of the page: the registry of the cluster has no TLS, and nobody else has the key of a release that has just been made."""
CODE = """
from snakepit import Adapter, tool


class Greetings(Adapter):
    @tool
    def greet(self, name: str) -> str:
        return f"Hello {name}"
"""


def typed(heading: str) -> list[str]:
    """What the page has below that heading."""
    return [block.text for block in blocks(PAGE, "sh", heading)]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(ROOT, tmp_path_factory.mktemp("shell") / "state", HERE, PATH=path_of_tools())


@pytest.fixture(scope="module")
def foreign_key(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of somebody who has not signed it."""
    folder = tmp_path_factory.mktemp("foreign")
    shell.run(f"COSIGN_PASSWORD= cosign generate-key-pair --output-key-prefix={folder / 'cosign'}")
    return folder / "cosign.pub"


@pytest.fixture(scope="module")
def carried(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """All of dist/oci is in a registry that the nodes reach, and that has nothing else."""
    with registry.running(tmp_path_factory.mktemp("registry"), network.REGISTRY):
        carry, check = typed("Carry it to a registry")
        shell.run(carry)
        shell.run(check)
        yield shell


def test_it_has_all_that_the_page_names() -> None:
    version = RELEASE["version"]
    assert len(list(DIST.glob(f"snakepit_*-{version}-py3-none-any.whl"))) == 7
    assert len(list(DIST.glob("*.cdx.json"))) == 7
    for wheel in DIST.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            assert [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    assert {each.name.partition(".")[0] for each in (DIST / "images").iterdir()} == set(RELEASE["images"])
    assert (DIST / f"snakepit-{version}.tgz").exists()
    assert contents.sums(DIST) == (DIST / contents.SUMS).read_text()
    assert [each.name for each in DIST.rglob("*") if not each.stat().st_mode & 0o004] == [], "who carries it may be anybody"


def test_its_sums_are_signed_and_what_was_changed_is_refused(shell: Shell, foreign_key: Path, tmp_path: Path) -> None:
    (check,) = typed("Check it")
    shell.run(check)
    changed = tmp_path / contents.SUMS
    changed.write_text((DIST / contents.SUMS).read_text().replace("0", "1", 1))
    line = check.splitlines()[1].removesuffix(f" dist/{contents.SUMS}")
    assert shell.run(f"{line} {changed}", check=False).returncode != 0
    foreign = line.replace("release.pub", str(foreign_key))
    assert shell.run(f"{foreign} dist/{contents.SUMS}", check=False).returncode != 0


@pytest.mark.parametrize("name", RELEASE["images"])
def test_an_image_in_the_registry_is_that_of_the_release_signed_with_its_sbom(carried: Shell, foreign_key: Path, name: str) -> None:
    digest = RELEASE["images"][name]
    reference = f"{network.REGISTRY}/snakepit/{name}@{digest}"
    by_tag = carried.run(f"oras resolve --plain-http {network.REGISTRY}/snakepit/{name}:{RELEASE['version']}").stdout.strip()
    assert by_tag == digest
    told = carried.run(f"cosign verify-attestation --type cyclonedx --key dist/cosign.pub --insecure-ignore-tlog {reference}").stdout
    statement = json.loads(base64.b64decode(json.loads(told)["payload"]))
    assert statement["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
    assert statement["predicate"] == json.loads((DIST / f"images/{name}.cdx.json").read_text())
    of_another = carried.run(f"cosign verify --key {foreign_key} --insecure-ignore-tlog {reference}", check=False)
    assert of_another.returncode != 0


def test_the_chart_in_the_registry_is_the_file_in_dist(carried: Shell, tmp_path: Path) -> None:
    version = RELEASE["version"]
    carried.run(f"helm pull oci://{network.REGISTRY}/charts/snakepit --version {version} --plain-http --destination {tmp_path}")
    assert (tmp_path / f"snakepit-{version}.tgz").read_bytes() == (DIST / f"snakepit-{version}.tgz").read_bytes()


@pytest.fixture(scope="module")
def installed(carried: Shell) -> Iterator[Shell]:
    """Afterwards the cluster is as it was, for tests of others."""
    make_namespace(SYSTEM)
    lines = "\n".join(line for line in typed("Install from there")[0].splitlines() if not line.startswith("pip "))
    try:
        carried.run(lines, seconds=INSTALL_SECONDS)
    except AssertionError:
        for pod in get("pods", namespace=SYSTEM):
            print(pod["metadata"]["name"], pod["status"])
        raise
    yield carried
    run("helm", "uninstall", "snakepit", "-n", SYSTEM, "--wait", "--timeout", "90s")
    kubectl("delete", "namespace", SYSTEM, SPACE, "--ignore-not-found")
    kubectl("delete", "crd", "snakepools.snakepit.dev")


def pool(name: str) -> list[dict[str, object]]:
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"greetings.py": CODE}}
    container = {
        "name": "worker",
        "image": f"{network.REGISTRY}/snakepit/worker@{RELEASE['images']['worker']}",
        "env": [{"name": "PYTHONPATH", "value": "/code"}],
        "volumeMounts": [{"name": "code", "mountPath": "/code", "readOnly": True}],
    }
    template = {"spec": {"containers": [container], "volumes": [{"name": "code", "configMap": {"name": "code"}}]}}
    spec = {"replicas": 2, "worker": {"adapter": "greetings:Greetings", "processes": 1}, "template": template}
    return [code, {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": name}, "spec": spec}]


def test_it_serves_a_pool_whose_every_image_is_one_of_the_release(installed: Shell) -> None:
    make_namespace(SPACE)
    apply(*pool("greetings"), namespace=SPACE)
    wait_available("greetings", namespace=SPACE)
    call = f"snakepit --kube -n {SPACE} call greetings greet name=there"
    assert installed.run(call).stdout == "Hello there\n"
    eventually(_only_of_the_release, "no pod runs anything else")
    kubectl("delete", "sp", "--all", "-n", SPACE)


def _only_of_the_release() -> bool:
    """Redis is not ours, and comes from elsewhere."""
    released = {f"{network.REGISTRY}/snakepit/{name}@{digest}" for name, digest in RELEASE["images"].items()}
    pods = [pod for space in (SYSTEM, SPACE) for pod in get("pods", namespace=space) if "redis" not in pod["metadata"]["name"]]
    said = [
        each["imageID"]
        for pod in pods
        for kind in ("containerStatuses", "initContainerStatuses")
        for each in pod["status"].get(kind, [])
        if pod["status"]["phase"] == "Running"
    ]
    assert set(said) <= released, said
    names = {reference.rpartition("/")[2].partition("@")[0] for reference in said}
    assert names == {"agent", "control-plane", "operator", "worker"}
    return True


def test_the_program_that_called_is_that_of_the_wheels() -> None:
    assert RELEASE["version"] in subprocess.check_output([f"{os.environ['RELEASE_PROGRAMS']}/bin/snakepit", "--version"], text=True)
