"""What a release is made of, and the files that tell what it has. `make test-release` makes one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from support.go_tools import BUILD_SECONDS, go_tool

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hack/release"))

import go_tools  # noqa: E402
from localcluster import binaries, shell  # noqa: E402
from localcluster.images import RELEASED  # noqa: E402
from localcluster.shell import Failure  # noqa: E402
from making import chart, contents, release, source, tools  # noqa: E402
from making.signatures import refuse_locked  # noqa: E402
from making.source import Source  # noqa: E402

DIGEST = "sha256:" + "a" * 64
YEAR_2000 = 946684800


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of what of this checkout says a version, with one commit."""
    folder = tmp_path / "checkout"
    for place in (*source.VERSIONED, *(f"{each}/pyproject.toml" for each in source.DISTRIBUTIONS)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, folder / place)
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "init", "-q")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> str:
    author = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    date = {"GIT_COMMITTER_DATE": f"{YEAR_2000} +0000"}
    return subprocess.check_output(["git", "-C", folder, *words], text=True, env={**os.environ, **author, **date})


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "it")


def test_a_release_is_what_is_committed_and_has_the_commits_date(checkout: Path, tmp_path: Path) -> None:
    (checkout / "sdk/left.log").write_text("of a program")
    made = source.export(checkout, tmp_path / "export")
    assert not (made.folder / "sdk/left.log").exists()
    assert (made.commit, made.seconds) == (git(checkout, "rev-parse", "HEAD").strip(), YEAR_2000)
    assert made.version == source.one_version(source.versions(ROOT))
    assert made.clock["SOURCE_DATE_EPOCH"] == str(YEAR_2000)


def test_what_is_not_committed_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "sdk/new.py").write_text("")
    with pytest.raises(Failure, match=r"aren't committed.*\n.*sdk/new.py"):
        source.export(checkout, tmp_path / "export")


def test_a_distribution_or_chart_of_another_version_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "charts/snakepit/Chart.yaml").write_text("version: 9.9.9\n")
    commit(checkout)
    with pytest.raises(Failure, match=r"9\.9\.9  charts/snakepit/Chart\.yaml"):
        source.export(checkout, tmp_path / "export")


def test_each_released_image_has_its_place_in_the_charts_values() -> None:
    assert set(contents.VALUES) == set(RELEASED)
    written = json.loads(contents.values(dict.fromkeys(RELEASED, DIGEST)))
    assert written["test"] == {"image": {"digest": DIGEST}, "workerImage": {"digest": DIGEST}}


def test_sums_are_of_all_that_is_the_same_in_each_run(tmp_path: Path) -> None:
    for name in ("a.whl", "images/agent.cdx.json", "oci/index.json", "cosign.pub", "SHA256SUMS", "SHA256SUMS.sigstore.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    expected = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("a.whl", "images/agent.cdx.json")]
    assert contents.sums(tmp_path).splitlines() == expected


def test_helms_digest_is_read_and_missed() -> None:
    assert chart.digest(f"Pushed: 127.0.0.1:1/charts/snakepit:0.1.0\nDigest: {DIGEST}\n") == DIGEST
    with pytest.raises(Failure, match="said no digest: Error: denied"):
        chart.digest("Error: denied\n")


def test_a_folder_gives_way_to_a_whole_release(tmp_path: Path) -> None:
    made, into = tmp_path / "made", tmp_path / "dist"
    for folder, name in ((made, "new"), (into, "old")):
        folder.mkdir()
        (folder / name).write_text("")
    release.replace(made, into)
    assert [each.name for each in into.iterdir()] == ["new"]
    assert [each.name for each in tmp_path.iterdir()] == ["dist"]


def twice(tmp_path: Path, make: Callable[[Source, Path], object]) -> list[bytes]:
    """What is made of two copies of this checkout's files, in two folders, the one older than the other."""
    made = []
    for name, seconds in (("one", YEAR_2000), ("another", YEAR_2000 * 1.5)):
        folder, into = tmp_path / name / "source", tmp_path / name / "made"
        for each in ("agent", "charts", "hack/images"):
            shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (seconds, seconds))
        into.mkdir()
        make(Source(folder, "c", YEAR_2000, "0.1.0"), into)
        (file,) = into.iterdir()
        made.append(file.read_bytes())
    return made


@pytest.fixture
def helm_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release would build its own, which takes minutes: any does here."""
    program = go_tool("helm")
    version = subprocess.check_output([program, "version", "--template", "{{.Version}}"], text=True)
    if not version.startswith("v4."):
        pytest.skip(f"{program} is helm {version}: a release needs helm 4. Let HELM name it.")
    monkeypatch.setenv("HELM", str(program))


@pytest.mark.timeout(BUILD_SECONDS + 60)
@pytest.mark.usefixtures("helm_4")
def test_a_chart_of_the_same_files_has_the_same_bytes(tmp_path: Path) -> None:
    one, another = twice(tmp_path, lambda of, into: chart.package(of, into, into.parent))
    assert one == another
    with tarfile.open(fileobj=io.BytesIO(one)) as packed:
        about = yaml.safe_load(packed.extractfile("snakepit/Chart.yaml") or b"")
    told = {each["image"] for each in yaml.safe_load(about["annotations"]["artifacthub.io/images"])}
    assert about["appVersion"] == "0.1.0"
    assert {f"snakepit/{name}:0.1.0" for name in RELEASED} == {each for each in told if each.startswith("snakepit/")}


def test_an_archive_with_another_date_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("snakepit/Chart.yaml"))
    with pytest.raises(Failure, match="helm 4 is needed"):
        chart.refuse_other_dates(tmp_path / "a.tgz", YEAR_2000, "helm")


def test_a_wheel_of_the_same_files_has_the_same_bytes(tmp_path: Path) -> None:
    if not (ROOT / ".venv-build/bin/pip").exists():
        pytest.skip("`make test` makes .venv-build, which builds wheels")
    one, another = twice(tmp_path, lambda of, into: release.wheels(ROOT, of, into, ["agent"]))
    assert one == another


@pytest.mark.usefixtures("no_go")
def test_a_release_takes_the_helm_of_its_version_and_not_what_is_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Failure, match="helm is not here"):
        tools.helm()
    built = go_tools.TOOLS["helm"].built()
    built.parent.mkdir(parents=True)
    built.write_text("")
    assert tools.helm() == str(built)
    monkeypatch.setenv("HELM", str(tmp_path / "helm"))
    assert tools.helm() == str(tmp_path / "helm")


@pytest.mark.parametrize(
    ("key", "name"), [("", "cosign"), ("a/file", "cosign"), ("env://KEY", "cosign"), ("awskms:///alias/a", "cosign-kms")]
)
def test_a_cosign_that_knows_the_clouds_is_wanted_for_their_keys_alone(key: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "path", lambda wanted: f"/built/{wanted}")
    assert tools.cosign(key) == f"/built/{name}"
    assert f"-tags={'kms' if name == 'cosign-kms' else ''}" in go_tools.TOOLS[name].command("go", "/into")


def test_the_helm_that_the_cluster_has_is_taken_as_it_is_of_the_same_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELM", raising=False)
    monkeypatch.setattr(go_tools, "go", lambda: "go")
    monkeypatch.setattr(binaries, "built", lambda cache: tmp_path)
    assert tools.helm() == str(tmp_path / "helm")


@pytest.fixture
def no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built here, and nothing has been."""
    monkeypatch.delenv("HELM", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(go_tools, "go", lambda: None)


def test_a_file_with_a_key_says_what_opens_it_before_anything_is_made(tmp_path: Path) -> None:
    key = tmp_path / "cosign.key"
    with pytest.raises(Failure, match="which can't be read"):
        refuse_locked(str(key), {"COSIGN_PASSWORD": "x"})
    key.write_text("")
    with pytest.raises(Failure, match="COSIGN_PASSWORD is not set"):
        refuse_locked(str(key), {})
    for opened, environment in ((str(key), {"COSIGN_PASSWORD": ""}), ("awskms:///alias/a", {}), ("", {})):
        refuse_locked(opened, environment)


@pytest.fixture
def terminal() -> Iterator[None]:
    """Somebody who could type, and does not."""
    kept, (ours, theirs) = os.dup(0), os.pipe()
    os.dup2(ours, 0)
    yield
    os.dup2(kept, 0)
    for each in (kept, ours, theirs):
        os.close(each)


@pytest.mark.usefixtures("terminal")
def test_a_program_that_waits_for_somebody_is_told_that_nobody_is_there_and_ended() -> None:
    assert shell.output("sh", "-c", "read line || echo nobody", seconds=20) == "nobody\n"
    with pytest.raises(Failure, match=r"`sleep 60` took longer than 0\.1 s"):
        shell.output("sleep", "60", seconds=0.1)
