"""Build KEDA's operator and metrics server, of the version that proto/keda is of, once: prints their folder, which has KEDA's CRDs, too.

They are built without KEDA's other scalers, which have hundreds of clients of databases and clouds: a quarter of an hour instead of more
than one. Nothing else of KEDA is changed. Go's own cache keeps what was compiled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tools_cache
from go_tools import NoTool, go

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto/keda/externalscaler.proto"
MODULE = "github.com/kedacore/keda/v2"
PROGRAMS = ("operator", "adapter")
BUILD_SECONDS = 3600

OURS = re.compile(r'\n\tcase "external(-push)?":')
CONSTANTS = 'package scalers\n\nconst externalMetricType = "External"\n'
"""What the external scaler uses of another one's file."""


def version() -> str:
    """The version that the proto is of."""
    found = re.search(r"github.com/kedacore/keda (v[0-9.]+),", PROTO.read_text())
    assert found is not None, f"{PROTO} must say of which version it is"
    return found[1]


def only_external(source: Path) -> None:
    """Take the other scalers out of KEDA's sources."""
    for file in (source / "pkg/scalers").glob("*_scaler.go"):
        if file.name != "external_scaler.go":
            file.unlink()
    (source / "pkg/scalers/constants.go").write_text(CONSTANTS)
    builder = source / "pkg/scaling/scalers_builder.go"
    before, cases = builder.read_text().split("switch triggerType {", 1)
    kept = [each for each in re.split(r"(?=\n\tcase |\n\tdefault:)", cases) if OURS.match(each) or each.startswith("\n\tdefault:")]
    builder.write_text(before + "switch triggerType {" + "".join(kept))


def build(compiler: str, target: Path) -> None:
    """Build them into that folder. Raises NoTool."""
    told = _run([compiler, "mod", "download", "-json", f"{MODULE}@{version()}"], Path.cwd())
    module = Path(json.loads(told)["Dir"])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, made = Path(folder) / "keda", Path(folder) / "made"
        shutil.copytree(module, source, copy_function=shutil.copyfile)
        for each in (source, *filter(Path.is_dir, source.rglob("*"))):
            each.chmod(0o755)
        only_external(source)
        for name in PROGRAMS:
            print(f"building KEDA's {name} {version()}, once (minutes) ...", file=sys.stderr)
            _run([compiler, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(made / f"keda-{name}"), f"./cmd/{name}"], source)
        shutil.copytree(source / "config/crd/bases", made / "crds")
        shutil.copyfile(source / "pkg/scalers/externalscaler/externalscaler.proto", made / "externalscaler.proto")
        made.rename(target)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoTool(f"{' '.join(command[:2])} took longer than {BUILD_SECONDS} s") from error
    if done.returncode:
        raise NoTool(f"KEDA could not be built: {done.stderr.strip()[-500:]}")
    return done.stdout


def main() -> None:
    target = tools_cache.tools_folder() / f"keda-{version()}"
    try:
        if not target.exists():
            if (compiler := go()) is None:
                raise NoTool("there is no Go to build KEDA with")
            target.parent.mkdir(parents=True, exist_ok=True)
            build(compiler, target)
            tools_cache.prune(time.time())
    except NoTool as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    tools_cache.use(target)
    print(target)


if __name__ == "__main__":
    main()
