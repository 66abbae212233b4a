"""Owns the order in which a release is made. Its folder is there when all of it is, or not at all."""

import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster import abandoned, host, paths, progress, shell
from localcluster.images import BY_NAME, RELEASED, check

from making import chart, contents, images, registry, tools
from making.images import Store
from making.signatures import Signer, refuse_locked
from making.source import DISTRIBUTIONS, Source, export


@dataclass(frozen=True)
class Wishes:
    """`key` and `base` are cosign's name of a key, and an image's; empty: one is made."""

    into: Path
    key: str = ""
    base: str = ""


def make(checkout: Path, wishes: Wishes) -> None:
    """Make it. Raises Failure."""
    refuse_locked(wishes.key, os.environ)
    host.prepare(paths.from_environment())
    for each in ("registry", "oras"):
        tools.path(each)
    tools.cosign(wishes.key)
    versions = tools.versions()
    with abandoned.temporary("snakepit-release-of-") as work:
        source, made = export(checkout, work / "source"), work / "made"
        made.mkdir()
        wheels(checkout, source, made)
        with registry.running(work / "registry", f"127.0.0.1:{_free_port()}") as address:
            Making(checkout, source, work, made, address, versions).all(wishes)
        replace(made, wishes.into)
    progress.say(f"{wishes.into}: {source.version}, of {source.commit[:12]}")


def wheels(checkout: Path, source: Source, into: Path, distributions: Sequence[str] = DISTRIBUTIONS) -> None:
    """By the hatchling of .venv-build, as requirements/build.txt pins it."""
    environment = {**os.environ, **source.clock, "PATH": f"{checkout}/.venv-build/bin:{os.environ['PATH']}"}
    with progress.step("wheels"):
        program = source.folder / "hack/images/build-wheels"
        shell.output("env", f"--chdir={source.folder}", program, into, *distributions, environment=environment)


@dataclass(frozen=True)
class Making:
    """A release that is being made, against the registry at `address`."""

    checkout: Path
    source: Source
    work: Path
    made: Path
    address: str
    versions: Mapping[str, str]
    """Of the tools."""

    def all(self, wishes: Wishes) -> None:
        store = Store(self.work / "store")
        base = store.base(wishes.base)
        built = self._build(store, base)
        digests = {name: store.push(local, f"docker://{self._reference(name)}") for name, local in built.items()}
        packed = chart.package(self.source, self.made, self.work)
        chart_digest = chart.push(packed, self.address, self.source.clock)
        (self.made / "images.yaml").write_text(contents.values(digests))
        record = contents.record(self.source, store.base_of(built["agent"]), digests, chart_digest, self.versions)
        (self.made / "release.json").write_text(record)
        self._sboms(store)
        (self.made / contents.SUMS).write_text(contents.sums(self.made))
        self._sign(Signer(wishes.key, self.work / "signing"), digests, chart_digest)
        self._layout()

    def _build(self, store: Store, base: str) -> dict[str, str]:
        """One after another, in one order: buildah writes down what it has found of the builds before."""
        logs = paths.from_environment().cache / "log"
        built = {}
        for name in RELEASED:
            built[name] = store.build(self.source, name, base, logs / f"release-{name}.log")
            check(BY_NAME[name], built[name], base, store.inspect)
        return built

    def _reference(self, name: str) -> str:
        return f"{self.address}/{images.REPOSITORY}/{name}:{self.source.version}"

    def _sboms(self, store: Store) -> None:
        program = [sys.executable, str(self.checkout / "hack/sbom.py")]
        environment = {**store.environment, **self.source.clock}
        with progress.step("SBOMs"):
            shell.output(*program, "wheels", self.made, environment=environment)
            released = ("images", self.made / "images", self.made / "release.json")
            shell.output(*program, *released, environment=environment)

    def _sign(self, signer: Signer, digests: dict[str, str], chart_digest: str) -> None:
        with progress.step("signatures"):
            for name, digest in digests.items():
                reference = f"{self.address}/{images.REPOSITORY}/{name}@{digest}"
                signer.image(reference)
                signer.contents(reference, self.made / f"images/{name}.cdx.json")
            signer.image(f"{self.address}/{chart.REPOSITORY}/snakepit@{chart_digest}")
            signer.file(self.made / contents.SUMS)
            (self.made / "cosign.pub").write_text(signer.public_key())

    def _layout(self) -> None:
        """Images and chart with what was signed, in one OCI layout: what they share is there once."""
        version = self.source.version
        names = {f"{images.REPOSITORY}/{name}": name for name in RELEASED} | {f"{chart.REPOSITORY}/snakepit": "chart"}
        with progress.step("the folder oci"):
            for repository, name in names.items():
                target = f"{self.made / 'oci'}:{name}-{version}"
                words = ("cp", "--recursive", "--from-plain-http", "--to-oci-layout", "--no-tty")
                shell.output(tools.path("oras"), *words, f"{self.address}/{repository}:{version}", target)


def replace(made: Path, into: Path) -> None:
    """What was in that folder gives way to what was made."""
    into.parent.mkdir(parents=True, exist_ok=True)
    unfinished = into.with_name(f".{into.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.move(made, unfinished)
    shutil.rmtree(into, ignore_errors=True)
    unfinished.rename(into)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
