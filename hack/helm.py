"""Find helm, or build it once with Go: prints its path, or says in a sentence why there is none (exit status 3).

Looks at $HELM, on PATH, at what hack/cluster has built, and at what it has built itself. The build is cached outside the checkout.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

VERSION = "v4.3.1"
BUILD_SECONDS = 900
NO_GO = "helm is not here and there is no Go to build it with: `make test-cluster` brings its own and runs these tests too"


class NoHelm(Exception):
    """There is no helm, and none can be built; the message says why."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def built() -> Path:
    """Where our own build is, or will be."""
    return cache_folder() / "snakepit-tools" / f"helm-{VERSION}" / "helm"


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("HELM"):
        yield Path(named)
    if on_path := shutil.which("helm"):
        yield Path(on_path)
    cluster = Path(os.environ.get("SNAKEPIT_CLUSTER_CACHE") or cache_folder() / "snakepit-cluster")
    yield from sorted(cluster.glob("binaries-*/helm"))
    yield built()


def find() -> Path | None:
    """The first helm there is."""
    return next((path for path in _candidates() if os.access(path, os.X_OK)), None)


def _go() -> str:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise NoHelm(NO_GO)
    return go


def build() -> Path:
    """Build helm (a few minutes on two cores). Raises NoHelm with the end of the compiler's output."""
    target = built()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(_go(), target)
    return target


def _build(go: str, target: Path) -> None:
    print(f"building helm {VERSION}, once (a few minutes) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [go, "install", "-trimpath", "-ldflags", "-s -w", f"helm.sh/helm/v4/cmd/helm@{VERSION}"]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": folder}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NoHelm(f"building helm took longer than {BUILD_SECONDS} s") from error
        if done.returncode:
            raise NoHelm(f"helm could not be built with {go}: {done.stderr.strip()[-500:]}")
        (Path(folder) / "helm").rename(target)


def helm() -> Path:
    """A helm, found or built. Raises NoHelm."""
    return find() or build()


if __name__ == "__main__":
    try:
        print(helm())
    except NoHelm as error:
        print(error, file=sys.stderr)
        sys.exit(3)
