"""Find a program written in Go, or build it once: prints its path, or says in a sentence why there is none (exit status 3).

    python hack/go_tools.py helm | helm-3 | helm-docs | grpcurl | kwok | metrics-server | otel-collector | cert-manager | cosign |
        cosign-kms | oras | registry

Several names: each of them.

Looks at the tool's variable ($HELM, $OTEL_COLLECTOR, $SNAKEPIT_REGISTRY_PROGRAM), on PATH, at what hack/cluster has built, and at what it
has built itself. Builds are cached outside the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE / "cluster")]
import tools_cache  # noqa: E402
from localcluster.binaries import GRPCURL, HELM  # noqa: E402  # One version, whoever builds it.
from tools_cache import cache_folder, tools_folder  # noqa: E402

BUILD_SECONDS = 1800


class NoTool(Exception):
    """It is not here, and can't be built; the message says why."""


@dataclass(frozen=True)
class Tool:
    """A Go module's program. `otherwise` ends the sentence that says that it can't be had. `module`: a folder beside this file that has the
    module itself, with a go.sum. `variable`: where its name in capitals would mean something else. `tags`: Go's, of a module of ours."""

    name: str
    package: str
    version: str
    otherwise: str
    module: str = ""
    variable: str = ""
    tags: str = ""

    def built(self) -> Path:
        """Where our own build is, or will be."""
        return tools_folder() / f"{self.name}-{self.version or self._digest()}" / self.name

    def _digest(self) -> str:
        """Of all that a module of ours is built from."""
        files = sorted(path for path in (HERE / self.module).rglob("*") if path.suffix in (".go", ".mod", ".sum"))
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]

    @property
    def made(self) -> str:
        """What Go calls the program."""
        return self.name if self.module else self.package.rpartition("/")[2]

    def command(self, compiler: str, folder: str) -> list[str]:
        """What puts the program into `folder`; to be run in `where`."""
        built = ["-trimpath", "-ldflags", "-s -w"]
        if self.module:
            return [compiler, "build", "-mod=readonly", f"-tags={self.tags}", *built, "-o", f"{folder}/{self.name}", self.package]
        return [compiler, "install", *built, f"{self.package}@{self.version}"]

    @property
    def where(self) -> Path:
        return HERE / self.module

    def candidates(self) -> Iterator[Path]:
        if named := os.environ.get(self.variable or self.name.upper().replace("-", "_")):
            yield Path(named)
        if on_path := shutil.which(self.name):
            yield Path(on_path)
        cluster = Path(os.environ.get("SNAKEPIT_CLUSTER_CACHE") or cache_folder() / "snakepit-cluster")
        yield from sorted(cluster.glob(f"binaries-*/{self.name}"))
        yield self.built()


OF_RELEASES = "release/programs"

TOOLS = {
    "helm": Tool("helm", "helm.sh/helm/v4/cmd/helm", HELM, "`make test-cluster` brings its own and runs these tests too"),
    "helm-3": Tool("helm-3", "helm.sh/helm/v3/cmd/helm", "v3.22.0", "put it on PATH under that name, or set HELM_3"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.8.0", "put it on PATH, or set KWOK"),
    "grpcurl": Tool("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl", GRPCURL, "put it on PATH, or set GRPCURL"),
    "helm-docs": Tool("helm-docs", "github.com/norwoodj/helm-docs/cmd/helm-docs", "v1.14.2", "put it on PATH, or set HELM_DOCS"),
    "metrics-server": Tool(
        "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", "v0.9.0", "put it on PATH, or set METRICS_SERVER"
    ),
    "otel-collector": Tool("otel-collector", ".", "", "put it on PATH, or set OTEL_COLLECTOR", module="collector"),
    "cert-manager": Tool("cert-manager", ".", "", "put it on PATH, or set CERT_MANAGER", module="certmanager"),
    "cosign": Tool("cosign", "./cosign", "", "put it on PATH, or set COSIGN", module=OF_RELEASES),
    "cosign-kms": Tool(
        "cosign-kms", "./cosign", "", "set COSIGN to one that knows your key service", module=OF_RELEASES, variable="COSIGN", tags="kms"
    ),
    "oras": Tool("oras", "./oras", "", "put it on PATH, or set ORAS", module=OF_RELEASES),
    "registry": Tool(
        "registry",
        "./registry",
        "",
        "put it on PATH, or set SNAKEPIT_REGISTRY_PROGRAM",
        module=OF_RELEASES,
        variable="SNAKEPIT_REGISTRY_PROGRAM",
    ),
}


def go() -> str | None:
    """The Go command."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def find(tool: Tool) -> Path | None:
    """The first one there is."""
    found = next((path for path in tool.candidates() if os.access(path, os.X_OK)), None)
    if found is not None:
        tools_cache.use(found)
    return found


def build(tool: Tool) -> Path:
    """Build it (a minute or more). Raises NoTool with the end of the compiler's output."""
    compiler = go()
    if compiler is None:
        raise NoTool(f"{tool.name} is not here and there is no Go to build it with: {tool.otherwise}")
    target = tool.built()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(compiler, tool, target)
            tools_cache.prune(time.time())
    return target


def _build(compiler: str, tool: Tool, target: Path) -> None:
    print(f"building {tool.name} {tool.version or 'of this checkout'}, once (a minute or more) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=tools_folder()) as folder:
        command = ["nice", "-n", "5", *tool.command(compiler, folder)]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": folder, "GOTMPDIR": folder}  # If it is killed, nothing is left in /tmp.
        try:
            done = subprocess.run(
                command, cwd=tool.where, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoTool(f"building {tool.name} took longer than {BUILD_SECONDS} s") from error
        if done.returncode:
            raise NoTool(f"{tool.name} could not be built with {compiler}: {done.stderr.strip()[-500:]}")
        (Path(folder) / tool.made).rename(target)


def main() -> None:
    try:
        for tool in [TOOLS[name] for name in sys.argv[1:]]:
            print(find(tool) or build(tool))
    except NoTool as error:
        print(error, file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
