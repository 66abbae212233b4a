"""Owns the build of the cluster's programs from source: all of Kubernetes and helm as one binary, grpcurl, pause."""

import os
import platform
from pathlib import Path

from localcluster import cache, host, progress, shell
from localcluster.paths import HERE, State

MODULE = HERE / "kube"
KIND = "binaries"
KUBERNETES = "v1.35.4"
HELM = "v4.1.4"
GRPCURL = "v1.9.3"

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kube-router",
    "coredns",
    "kubectl",
    "helm",
)
"""Names that the one binary answers to."""

STRIPPED = "-s -w"
BUILDS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        ".",
        "kube",
        {
            "k8s.io/component-base/version.gitVersion": KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "35",
            "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES,
            "helm.sh/helm/v4/internal/version.version": HELM,
        },
    ),
    ("./pause", "pause", {}),
    ("github.com/fullstorydev/grpcurl/cmd/grpcurl", "grpcurl", {"main.version": GRPCURL}),
)
"""Package, name of the program, and the variables that the linker sets."""


def build(cache_folder: Path) -> Path:
    """The folder with all programs, out of the cache or newly built."""
    return cache.entry(cache_folder, KIND, _key(), lambda folder: _build(folder, cache_folder / "log/go.log"))


def built(cache_folder: Path) -> Path | None:
    """That folder, if it is there."""
    folder = cache_folder / f"{KIND}-{_key()}"
    return folder if folder.exists() else None


def _key() -> str:
    version = host.go_version(MODULE)
    return cache.key_of([version, platform.machine(), repr(BUILDS), repr(COMPONENTS), cache.key_of_files(MODULE, ["."])])


def _build(folder: Path, log: Path) -> None:
    with progress.step("Kubernetes, helm and grpcurl from source (4 to 8 minutes on two cores)"):
        for package, name, variables in BUILDS:
            shell.logged(go_build(package, folder / name, variables), log, cwd=MODULE, environment=_environment(folder))
        for component in COMPONENTS:
            (folder / component).symlink_to("kube")


def go_build(package: str, target: Path, variables: dict[str, str]) -> list[str]:
    linker = " ".join([STRIPPED, *(f"-X {name}={value}" for name, value in variables.items())])
    go = host.find_go() or "go"
    return ["nice", "-n", "5", go, "build", "-mod=readonly", "-trimpath", "-ldflags", linker, "-o", str(target), package]


def _environment(folder: Path) -> dict[str, str]:
    """What a compiler that is killed leaves is in that folder, which the next build removes."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTMPDIR": str(folder)}


def link_into(state: State, folder: Path) -> None:
    """Put the programs where the cluster and `exec` look for them."""
    state.bin.mkdir(parents=True)
    for program in folder.iterdir():
        (state.bin / program.name).symlink_to(program)
