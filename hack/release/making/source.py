"""Owns what a release is made of: a commit, unpacked into a folder of its own, so that nothing else can get in; and its one clock."""

import re
from dataclasses import dataclass
from pathlib import Path

from localcluster import shell
from localcluster.shell import Failure

VERSIONED = {
    "sdk/src/snakepit/__init__.py": r'^__version__ = "(.+)"$',
    "charts/snakepit/Chart.yaml": r"^version: (.+)$",
}
"""Where the version stands, beside the distributions."""
DISTRIBUTIONS = ("sdk", "worker-image", "agent", "control-plane", "operator", "gateway", "local")
OF_A_DISTRIBUTION = r'^version = "(.+)"$'


@dataclass(frozen=True)
class Source:
    """`seconds`: when the commit was made, since 1970. Whatever has a date in a release has this one."""

    folder: Path
    commit: str
    seconds: int
    version: str

    @property
    def clock(self) -> dict[str, str]:
        """The environment of programs that would else write down when they ran, or where."""
        return {"SOURCE_DATE_EPOCH": str(self.seconds), "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}


def export(checkout: Path, folder: Path) -> Source:
    """HEAD of that checkout, unpacked. Raises Failure where something isn't committed, or versions differ."""
    _refuse_changes(shell.output("git", "-C", checkout, "status", "--porcelain"))
    commit, seconds = shell.output("git", "-C", checkout, "log", "-1", "--format=%H %ct").split()
    folder.mkdir(parents=True)
    archive = folder.with_name(f"{folder.name}.tar")
    shell.output("git", "-C", checkout, "-c", "tar.umask=022", "archive", f"--output={archive}", commit)
    shell.output("tar", "--extract", "--same-permissions", f"--directory={folder}", f"--file={archive}")
    archive.unlink()
    return Source(folder, commit, int(seconds), one_version(versions(folder)))


def _refuse_changes(status: str) -> None:
    if status:
        raise Failure(f"A release is made of a commit, and these files aren't committed: commit or remove them.\n{status.rstrip()}")


def versions(folder: Path) -> dict[str, str]:
    """The version that each file of a checkout says."""
    places = {**VERSIONED, **{f"{each}/pyproject.toml": OF_A_DISTRIBUTION for each in DISTRIBUTIONS}}
    found = {}
    for place, form in places.items():
        match = re.search(form, (folder / place).read_text(), re.MULTILINE)
        if match is None:
            raise Failure(f"{place} says no version")
        found[place] = match[1]
    return found


def one_version(found: dict[str, str]) -> str:
    """What all of them say. Raises Failure where they differ."""
    if len(set(found.values())) != 1:
        listed = "\n".join(f"  {version}  {place}" for place, version in found.items())
        raise Failure(f"A release has one version, and these differ: make them one.\n{listed}")
    return next(iter(found.values()))
