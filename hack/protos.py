"""Generate the stubs of proto/ (`make protos`); with --check, say whether they are up to date.

Ours, proto/snakepit/v1, go into the SDK; KEDA's, proto/keda, into the operator, which alone speaks to it.

proto/released/ has the contract of each release that may still run somewhere, as descriptors; before the first one it isn't there.
--breaking says what of proto/ would break one of them; --release (`make protos-release`) adds today's.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

from snakepit import __version__

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
RELEASED = PROTO / "released"
BUF = Path(sys.executable).parent / "buf"
STUBS = {"snakepit/v1": ROOT / "sdk/src/snakepit/v1", "keda": ROOT / "operator/src/snakepit_operator/externalscaler"}
"""By the folder of their sources."""


def generate(folder: str, into: Path) -> Path:
    """Write the package of that folder's stubs under `into` and return its own."""
    target = STUBS[folder]
    package = target.relative_to(next(each for each in target.parents if each.name == "src"))
    include = Path(protoc.__file__).parent / "_proto"
    sources = sorted(f"{package}/{path.name}" for path in (PROTO / folder).glob("*.proto"))
    outputs = [f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}"]
    if protoc.main(["protoc", f"-I{package}={PROTO / folder}", f"-I{include}", *outputs, *sources]):
        sys.exit("protoc failed")
    (into / package / "__init__.py").write_text(f'"""Generated from proto/{folder} by `make protos`; don\'t edit."""\n')
    return into / package


def breaking(proto: Path = PROTO, released: Path = RELEASED) -> list[str]:
    """What of `proto` a program of one of the releases, or somebody's generated client, would misunderstand: a sentence each."""
    found = []
    for image in sorted(released.glob("*.binpb")):
        done = subprocess.run([BUF, "breaking", proto, "--against", image], capture_output=True, text=True, timeout=60, check=False)
        found += [f"against {image.stem}: {line}" for line in (done.stdout + done.stderr).splitlines()]
        if done.returncode and not found:
            found.append(f"against {image.stem}: buf ended with {done.returncode}")
    return found


def release(name: str, released: Path = RELEASED) -> None:
    """Keep today's contract as that of a release."""
    released.mkdir(exist_ok=True)
    subprocess.run([BUF, "build", PROTO, "--exclude-source-info", "-o", released / f"{name}.binpb"], timeout=60, check=True)


def main() -> None:
    if "--breaking" in sys.argv:
        if found := breaking():
            sys.exit("\n".join([*found, "a running fleet would break: add new fields and RPCs instead, and keep the old ones"]))
        return
    if "--release" in sys.argv:
        release(__version__)
        return
    for folder, stubs in STUBS.items():
        with tempfile.TemporaryDirectory() as into:
            fresh = generate(folder, Path(into))
            names = sorted(p.name for p in fresh.iterdir())
            if "--check" in sys.argv:
                _, different, missing = filecmp.cmpfiles(fresh, stubs, names, shallow=False)
                if different or missing:
                    sys.exit(f"stubs are not up to date ({', '.join([*different, *missing])}): run make protos")
                continue
            shutil.rmtree(stubs, ignore_errors=True)
            shutil.copytree(fresh, stubs)


if __name__ == "__main__":
    main()
