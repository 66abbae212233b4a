"""Generate the stubs of proto/ into sdk/src/snakepit/v1 (`make protos`); with --check, say whether they are up to date.

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
STUBS = ROOT / "sdk/src/snakepit/v1"
INIT = '"""Generated from proto/snakepit/v1 by `make protos`; don\'t edit."""\n'


def generate(into: Path) -> Path:
    """Write the package `snakepit.v1` under `into` and return its folder."""
    include = Path(protoc.__file__).parent / "_proto"
    sources = sorted(str(p) for p in (ROOT / "proto").rglob("*.proto"))
    outputs = [f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}"]
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{include}", *outputs, *sources]):
        sys.exit("protoc failed")
    package = into / "snakepit/v1"
    (package / "__init__.py").write_text(INIT)
    return package


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
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        names = sorted(p.name for p in fresh.iterdir())
        if "--check" in sys.argv:
            _, different, missing = filecmp.cmpfiles(fresh, STUBS, names, shallow=False)
            if different or missing:
                sys.exit(f"stubs are not up to date ({', '.join([*different, *missing])}): run make protos")
            return
        shutil.rmtree(STUBS, ignore_errors=True)
        shutil.copytree(fresh, STUBS)


if __name__ == "__main__":
    main()
