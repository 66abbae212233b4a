"""Owns where the programs written in Go are that a release needs: hack/go_tools.py finds or builds each."""

import functools
import os
import platform
from pathlib import Path

import go_tools
from localcluster import binaries, paths, shell
from localcluster.shell import Failure

SERVICES = frozenset({"awskms", "azurekms", "gcpkms", "hashivault"})
"""How the names of keys begin that a key service has."""


@functools.cache
def path(name: str) -> str:
    """Of that program. Raises Failure where it can't be had."""
    tool = go_tools.TOOLS[name]
    return str(go_tools.find(tool) or _built(tool))


def cosign(key: str = "") -> str:
    """What can sign by that key: what asks the key services of clouds is only built where one is wanted. Raises Failure."""
    return path("cosign-kms" if key.partition("://")[0] in SERVICES else "cosign")


def helm() -> str:
    """What $HELM names, else a build of ours: the bytes of the chart are as the version of helm makes them. Raises Failure."""
    if "HELM" in os.environ:
        return os.environ["HELM"]
    tool = go_tools.TOOLS["helm"]
    return str(_of_the_cluster() or (tool.built() if tool.built().exists() else _built(tool)))


def _of_the_cluster() -> Path | None:
    """hack/cluster has built the same version into its one program, if it has built any."""
    if go_tools.go() is None:
        return None
    folder = binaries.built(paths.from_environment().cache)
    return folder / "helm" if folder else None


def _built(tool: go_tools.Tool) -> Path:
    try:
        return go_tools.build(tool)
    except go_tools.NoTool as error:
        raise Failure(str(error)) from error


def versions() -> dict[str, str]:
    """Of what the bytes of a release depend on, beside what is committed and the base."""
    buildah = shell.output("buildah", "--version").split()  # buildah version 1.28.2 (image-spec 1.0.2-dev, runtime-spec 1.0.2-dev)
    named = "HELM" in os.environ
    return {
        "buildah": buildah[2],
        "helm": shell.output(helm(), "version", "--template", "{{.Version}}") if named else go_tools.TOOLS["helm"].version,
        "python": platform.python_version(),
    }
