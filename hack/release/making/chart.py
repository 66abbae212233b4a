"""Owns the chart of a release: packed so that the same files make the same bytes, and pushed as an OCI artifact."""

import os
import re
import shutil
import tarfile
from pathlib import Path

from localcluster import shell
from localcluster.shell import Failure

from making import tools
from making.source import Source

CHART = "charts/snakepit"
REPOSITORY = "charts"
OF_A_CHECKOUT = re.compile(r"(image: snakepit/[\w-]+):dev$", re.MULTILINE)
"""Of our images, as Chart.yaml tells them to Artifact Hub."""


def package(source: Source, into: Path, work: Path) -> Path:
    """The archive: its version and that of the images are the release's."""
    staged = work / "chart"
    shutil.copytree(source.folder / CHART, staged)
    about = staged / "Chart.yaml"
    about.write_text(OF_A_CHECKOUT.sub(rf"\1:{source.version}", about.read_text()))
    date(staged, source.seconds)
    command = [tools.helm(), "package", staged, "--version", source.version, "--app-version", source.version, "--destination", into]
    shell.output(*command, environment={**os.environ, **source.clock})
    archive = into / f"snakepit-{source.version}.tgz"
    refuse_other_dates(archive, source.seconds, tools.helm())
    date(archive, source.seconds)  # helm push writes it down.
    return archive


def refuse_other_dates(archive: Path, seconds: int, helm: str) -> None:
    """helm 3 writes down when it ran. Raises Failure."""
    with tarfile.open(archive) as packed:
        if {each.mtime for each in packed} != {seconds}:
            raise Failure(f"{archive.name} has dates of today: helm 4 is needed, and {helm} is older. Let HELM name it.")


def date(path: Path, seconds: int) -> None:
    """A file, or a folder with all that is in it."""
    for each in (*path.rglob("*"), path):
        os.utime(each, (seconds, seconds))


def push(archive: Path, address: str, clock: dict[str, str]) -> str:
    """Its digest in the registry, where it is `charts/snakepit`."""
    words = [tools.helm(), "push", archive, f"oci://{address}/{REPOSITORY}", "--plain-http"]
    return digest(shell.output("sh", "-c", 'exec "$@" 2>&1', "sh", *words, environment={**os.environ, **clock}))


def digest(said: str) -> str:
    """Out of what helm says when it has pushed."""
    if (match := re.search(r"^Digest: (sha256:[0-9a-f]{64})$", said, re.MULTILINE)) is None:
        raise Failure(f"helm push said no digest: {said.strip()}")
    return match[1]
