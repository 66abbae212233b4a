"""Writes the CustomResourceDefinition from snakepit.spec to crds/ and into the chart; `--check` only says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from snakepit.spec import crd

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (ROOT / "crds/snakepit.dev_snakepools.yaml", ROOT / "charts/snakepit/files/crds/snakepools.yaml")
HEADER = "# Generated from sdk/src/snakepit/spec by `make crds`: change it there.\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def rendered() -> str:
    """The file's whole text."""
    return HEADER + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=140)


def main() -> int:
    """Write, or with --check compare; 1 if a file is stale."""
    text = rendered()
    stale = [path for path in TARGETS if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run `make crds`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
