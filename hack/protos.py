"""Generate the stubs of proto/ into sdk/src/snakepit/v1 (`make protos`); with --check, say whether they are up to date."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
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


def main() -> None:
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
